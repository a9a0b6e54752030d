// A guarantee, simulated: 200 studies choose a threshold each, and new cases show whether it holds.
// The rule is that of guaranteed_risk() in wmhqc/thresholds.py; a test compares the two.

// Numbers from 0 to 1 that a seed decides (mulberry32).
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// A case with confidence q fails with this chance; `drift` raises the odds by exp(drift).
const chance = (q, drift = 0) => 1 / (1 + Math.exp(8 * q - 2.5 - drift));

function study(seed, cases) {
  const random = uniform(seed);
  const q = Array.from({ length: cases }, random);
  return { q, failed: q.map((value) => random() < chance(value)) };
}

// Chance of at most k failures among n cases, if each fails with this chance.
function binomial(k, n, risk) {
  let term = (1 - risk) ** n, sum = term;
  for (let i = 0; i < k; i++) {
    term *= (((n - i) / (i + 1)) * risk) / (1 - risk);
    sum += term;
  }
  return sum;
}

// Threshold below which a case goes to review, or NaN: the walk of guaranteed_risk().
function guaranteed(q, failed, risk, level, start) {
  const order = q.map((_, i) => i).sort((a, b) => q[b] - q[a]);
  const needed = Math.ceil(Number((Math.log(1 - level) / Math.log1p(-risk)).toFixed(9)));
  const first = Math.min(q.length, Math.max(needed, Math.ceil(Number((start * q.length).toFixed(9)))));
  let threshold = NaN, lost = 0;
  for (let n = 1; n <= q.length; n++) {
    lost += failed[order[n - 1]] ? 1 : 0;
    if (n < first || (n < q.length && q[order[n]] === q[order[n - 1]])) continue;
    if (binomial(lost, n, risk) > 1 - level) break;
    threshold = q[order[n - 1]];
  }
  return threshold;
}

// Share of failed cases among all new ones that a threshold accepts (the integral of `chance` above it).
function truth(threshold, drift) {
  const area = (q) => Math.log1p(Math.exp(2.5 + drift - 8 * q)) / 8;
  return (area(threshold) - area(1)) / (1 - threshold);
}

function render({ model, el }) {
  const { studies, start } = model.get("data");
  const TOP = 0.4; // end of the axis
  const root = html("div", { class: "wmhqc guarantee", role: "group", "aria-label": "A guarantee, simulated" });
  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
    update();
  };
  const percents = (name, label, options) => choice(label, options.map((share) => [share, `${fixed(100 * share, 0)} %`]), (value) => set(name, Number(value)));
  const cases = range("Calibration cases", { min: 20, max: 400, step: 10 }, (n) => set("cases", n));
  const shift = range("Shift", { min: 0, max: 2, step: 0.25 }, (value) => set("drift", value));
  const risk = percents("risk", "At most", [0.05, 0.1, 0.15, 0.2]);
  const level = percents("level", "Confidence level", [0.8, 0.9, 0.95]);
  const again = html("button", { type: "button" }, `Drop ${studies} new studies`);
  again.addEventListener("click", () => {
    dropped = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    set("seed", model.get("seed") + 1);
  });
  const words = html("p", { class: "summary", role: "status" });
  const picture = svg("svg", { class: "chart", role: "img" });
  risk.row.append(html("span", {}, "of the accepted fail"));
  root.append(
    html("div", { class: "choices" }, risk.row, level.row),
    html("div", { class: "controls pair" }, cases.row, shift.row),
    words, html("div", { class: "plot" }, picture), html("div", { class: "buttons" }, again));
  el.replaceChildren(root);
  let dropped = false, drawn = null, made = "";

  function results() {
    const n = model.get("cases"), key = `${n} ${model.get("seed")}`;
    if (made !== key) drawn = Array.from({ length: studies }, (_, k) => study(model.get("seed") * studies + k + 1, n));
    made = key;
    return drawn.map(({ q, failed }) => {
      const threshold = guaranteed(q, failed, model.get("risk"), model.get("level"), start);
      return { threshold, rate: truth(threshold, model.get("drift")) };
    });
  }

  function update() {
    const [n, limit, drift] = ["cases", "risk", "drift"].map((name) => model.get(name));
    const found = results(), had = found.filter(({ threshold }) => !Number.isNaN(threshold));
    const broken = had.filter(({ rate }) => rate > limit).length, none = studies - had.length;
    const accepted = had.reduce((sum, { threshold }) => sum + 1 - threshold, 0) / had.length;
    cases.show(n, String(n));
    shift.show(drift, drift ? `odds of failure × ${fixed(Math.exp(drift), 1)}` : "none");
    risk.select.value = limit;
    level.select.value = model.get("level");
    const may = 100 * (1 - model.get("level"));
    words.textContent = `${broken} of ${studies} studies (${fixed((100 * broken) / studies, 1)} %) break the guarantee`
      + `${drift ? "" : `; ${fixed(may, 0)} % may`}. ${none} get no threshold. `
      + (had.length ? `The others accept ${fixed(100 * accepted, 0)} % of the new cases on average.` : "");
    Object.assign(root.dataset, { broken, none, accepted, cases: n, risk: limit, level: model.get("level"), drift, seed: model.get("seed") });
    draw(had.map(({ rate }) => rate), none, limit);
  }

  function draw(rates, none, limit) {
    const width = Math.max(260, picture.clientWidth), height = Math.round(Math.min(330, Math.max(240, 0.46 * width)));
    const bins = 8 * Math.max(2, Math.round(width / 80)), piles = new Map(); // every 0.05 is an edge, so each limit is
    const dots = rates.map((rate) => {
      const bin = Math.max(0, Math.min(bins - 1, Math.ceil(((rate - 1e-12) / TOP) * bins) - 1));
      piles.set(bin, (piles.get(bin) ?? 0) + 1);
      return { bin, row: piles.get(bin) - 1, broken: rate > limit };
    });
    const { X, box, add, done } = axes(picture, {
      width, height, x: [0, TOP], y: [0, 1], bare: true, left: 14, xticks: width / 80,
      xlabel: "share of failures among the accepted new cases" });
    const floor = height - box.bottom, most = Math.max(1, ...piles.values());
    const step = Math.min((X(TOP) - X(0)) / bins, (floor - box.top - 22) / most), r = Math.min(4.4, 0.5 * step + 0.6);
    add("rect", { class: "review", x: X(limit), y: box.top, width: Math.max(0, X(TOP) - X(limit)), height: floor - box.top });
    dots.forEach(({ bin, row, broken }, k) => {
      const [x, y] = [X(((bin + 0.5) / bins) * TOP), floor - r - 1 - row * step];
      const node = broken
        ? add("path", { class: "point fn", d: `M${x} ${y - 1.1 * r}l${r} ${1.9 * r}h${-2 * r}z` })
        : add("circle", { class: "point tn", cx: x, cy: y, r });
      if (dropped) node.style.animation = `wmhqc-drop 0.5s ${(900 * k) / dots.length}ms ease-in backwards`;
    });
    add("line", { class: "limit", x1: X(limit), y1: box.top, x2: X(limit), y2: floor });
    add("text", { class: "side", x: X(limit) - 7, y: box.top + 14, "text-anchor": "end" }, width < 420 ? "kept" : "guarantee kept");
    add("text", { class: "side limit", x: X(limit) + 7, y: box.top + 14 }, `broken: above ${fixed(100 * limit, 0)} %`);
    if (none) add("text", { class: "side", x: X(TOP) - 4, y: box.top + 40, "text-anchor": "end" }, `no threshold: ${none}`);
    for (let k = 0; k < none; k++)
      add("circle", { class: "none", cx: X(TOP) - 9 - 8 * (k % 20), cy: box.top + 54 + 8 * Math.floor(k / 20), r: 2.8 });
    picture.setAttribute("aria-label", `${rates.length} studies by the share of failures among the cases that they accept; the limit is ${fixed(100 * limit, 0)} %. ${words.textContent}`);
    done();
    dropped = false;
  }

  const leave = listen(model, ["cases", "risk", "level", "drift", "seed"], update, root, update);
  update();
  return leave;
}

export default { render };
