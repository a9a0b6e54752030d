// The threshold with the scans behind it. Cases stand in order of trust; the first ones go to a person.
// The numbers are those of trays_numbers() in looks.py; a test compares the two.

const THUMB = 20; // width of the slider's thumb in px, as in explore.css
const KINDS = { tp: "failed, a person looks", fp: "good, a person looks", fn: "failed, used without looking", tn: "good, used without looking" };

// Circle = good, triangle = failed; filled = used, hollow = looked at.
function point(kind, x, y) {
  return kind === "tp" || kind === "fn"
    ? svg("path", { class: `point ${kind}`, d: `M${x} ${y - 5.2}l5 8.7h-10z` })
    : svg("circle", { class: `point ${kind}`, cx: x, cy: y, r: 4 });
}

function render({ model, el }) {
  const { names, kinds, scores, measures, places, scans: packed } = model.get("data");
  const total = names.length;
  const score = () => scores.find(({ name }) => name === model.get("score"));
  const measure = () => measures.find(({ name }) => name === model.get("measure"));
  const failed = (i) => {
    const { values, bad } = measure();
    return values[i] === null || (bad === "under" ? values[i] < model.get("limit") : values[i] > model.get("limit"));
  };
  // Places of the cases, least trusted first; cases without a score before all others.
  const trust = (i) => { const { values, confidence } = score(); return values[i] === null ? -Infinity : confidence * values[i]; };
  const ordered = () => names.map((_, i) => i).sort((a, b) => trust(a) - trust(b) || a - b);
  // Cases of one score go together: the smallest number from `looks` on that a threshold can reach.
  function reachable(looks, order) {
    while (looks < total && (trust(order[looks]) === -Infinity || (looks > 0 && trust(order[looks]) === trust(order[looks - 1])))) looks++;
    return looks;
  }

  // ---- what stands where
  const root = html("div", { class: "wmhqc trays", role: "group", "aria-label": "Threshold with the scans behind it" });
  const choose = (label, options) => html("select", { "aria-label": label }, ...options.map(({ name, label: text }) => html("option", { value: name }, text)));
  const control = (text, ...nodes) => html("label", { class: "control" }, html("span", {}, text), ...nodes);
  const scoreSelect = choose("Score", scores), measureSelect = choose("Failed if", measures);
  const number = (name, attributes) => html("input", { type: "number", "aria-label": name, ...attributes });
  const limit = number("Limit of failure", {}), bad = html("span");
  const costs = [number("Cost of a look", { min: 0, step: 1 }), number("Cost of a missed failure", { min: 0, step: 1 })];
  const picture = svg("svg", { class: "chart choose", role: "img" });
  const slider = html("input", { type: "range", min: 0, max: total, step: 1, "aria-label": "Number of cases that a person looks at" });
  const chart = html("div", { class: "plot" }, picture, slider);
  const words = html("p", { class: "summary" }), price = html("p", { class: "price" });
  const counts = Object.fromEntries(["tp", "fp", "fn", "tn"].map((kind) => [kind, html("data", { "data-name": kind })]));
  const mark = (kind) => { const node = svg("svg", { class: "symbol", viewBox: "0 0 16 16", "aria-hidden": "true" }); node.append(point(kind, 8, 8)); return node; };
  const cell = (kind) => html("td", { class: kind }, html("span", { class: "head" }, mark(kind), counts[kind]));
  const table = html("table", { class: "small" },
    html("thead", {}, html("tr", {}, html("td"), html("th", { scope: "col" }, "Looked at"), html("th", { scope: "col" }, "Used"))),
    html("tbody", {}, html("tr", {}, html("th", { scope: "row" }, "Failed"), cell("tp"), cell("fn")),
      html("tr", {}, html("th", { scope: "row" }, "Good"), cell("fp"), cell("tn"))));
  const canvas = html("canvas", { role: "img" });
  const facts = html("dl"), title = html("p", { class: "title" });
  const next = html("button", { type: "button" }, "Show one that slipped through");
  const key = html("p", { class: "remark key masks" }, legend("predicted", "network"), legend("manual", "manual"));
  const scan = html("div", { class: "scan" }, html("div", {}, html("div", { class: "picture" }, canvas,
    html("span", { class: "side left", title: "patient's right" }, "R"), html("span", { class: "side right", title: "patient's left" }, "L")), key), html("div", {}, title, facts));
  const tray = (name) => {
    const count = html("data"), tiles = html("div", { class: "tiles", role: "group", "aria-label": `${name}: cases, arrow keys move` });
    return { count, tiles, node: html("div", { class: "tray" }, html("p", { class: "title" }, `${name}: `, count), tiles) };
  };
  const looked = tray("A person looks"), used = tray("Used without looking");
  const live = html("div", { class: "spoken", role: "status", "aria-live": "polite" });
  const tiles = names.map((name, i) => {
    const tile = html("button", { type: "button", class: "tile", tabindex: -1 }, places[i] < 0 ? html("span") : html("canvas", { "aria-hidden": "true" }));
    for (const event of ["focus", "pointerenter", "click"]) tile.addEventListener(event, () => open(i));
    tile.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const near = step && (step > 0 ? tile.nextElementSibling : tile.previousElementSibling);
      if (step) event.preventDefault();
      if (near) near.focus();
    });
    return tile;
  });
  root.append(
    html("div", { class: "choices" }, control("Trust by", scoreSelect), html("div", { class: "control" }, html("span", {}, "Failed if"), measureSelect, bad, limit)),
    html("div", { class: "stage" }, html("div", {}, chart, words, price), html("div", {}, table, scan)),
    html("div", { class: "two" }, looked.node, used.node),
    html("div", { class: "choices after" }, control("A look costs", costs[0]), control("a missed failure", costs[1]), next), live);
  el.replaceChildren(root);

  // ---- state
  let unpacked = null, order = ordered(), side = null, announce;

  function set(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    update();
  }

  function open(i) {
    if (model.get("case") !== names[i]) set({ case: names[i] });
  }

  // Counts for every number of looks, so that the curve of the cost is drawn from the same numbers.
  function results() {
    const all = order.filter(failed).length, [look, miss] = model.get("costs");
    let caught = 0;
    return Array.from({ length: total + 1 }, (_, looks) => {
      if (looks && failed(order[looks - 1])) caught++;
      const fn = all - caught;
      return { looks, tp: caught, fp: looks - caught, fn, tn: total - looks - fn, cost: look * looks + miss * fn };
    });
  }

  function update() {
    order = ordered();
    const list = results(), looks = reachable(model.get("looks"), order), n = list[looks];
    const possible = list.filter((each) => reachable(each.looks, order) === each.looks);
    const best = possible.reduce((a, b) => (b.cost < a.cost ? b : a));
    const kind = new Map(order.map((i, rank) => [i, rank < looks ? (failed(i) ? "tp" : "fp") : failed(i) ? "fn" : "tn"]));
    scoreSelect.value = score().name;
    measureSelect.value = measure().name;
    bad.textContent = measure().bad;
    limit.step = measure().step;
    if (document.activeElement !== limit) limit.value = model.get("limit");
    costs.forEach((input, k) => { if (document.activeElement !== input) input.value = model.get("costs")[k]; });
    slider.value = looks;
    const threshold = looks < total ? score().values[order[looks]] : null;
    const at = threshold === null ? "all" : `${score().confidence > 0 ? "below" : "above"} ${short(threshold)}`;
    slider.setAttribute("aria-valuetext", `${looks} of ${total}, ${score().label} ${at}`);
    for (const [name, node] of Object.entries(counts)) { node.value = n[name]; node.textContent = n[name]; }
    looked.count.textContent = looks;
    used.count.textContent = total - looks;
    words.textContent = `${looks} ${plural(looks, "look catches", "looks catch")} ${n.tp} of ${n.tp + n.fn} failures. `
      + `${n.fn} ${plural(n.fn, "slips", "slip")} through.`;
    const [look, miss] = model.get("costs");
    price.textContent = `Cost: ${looks} × ${short(look)} + ${n.fn} × ${short(miss)} = ${short(n.cost)}. `
      + `Least: ${short(best.cost)}, with ${best.looks} ${plural(best.looks, "look", "looks")}.`;
    next.disabled = n.fn === 0;
    Object.assign(root.dataset, { looks, cost: n.cost, best: best.looks, score: score().name, measure: measure().name, limit: model.get("limit"), case: model.get("case") });
    move(looks, kind);
    draw(list, n, best, kind);
    show(kind);
    clearTimeout(announce);
    announce = setTimeout(() => { live.textContent = `${words.textContent} ${price.textContent}`; }, 400);
  }

  // Tiles into their trays, those next to the threshold first; the ones that cross are seen to cross.
  function move(looks, kind) {
    const now = new Map(order.map((i, rank) => [i, rank < looks]));
    const crossing = side ? names.map((_, i) => i).filter((i) => side.get(i) !== now.get(i)) : [];
    const before = crossing.map((i) => tiles[i].getBoundingClientRect());
    tiles.forEach((tile, i) => {
      tile.className = `tile ${kind.get(i)}${names[i] === model.get("case") ? " open" : ""}`;
      tile.setAttribute("aria-label", `${names[i]}, ${KINDS[kind.get(i)]}`);
      tile.tabIndex = -1;
      if (places[i] < 0) tile.firstChild.replaceChildren(mark(kind.get(i)));
    });
    fill(looked.tiles, order.slice(0, looks).reverse());
    fill(used.tiles, order.slice(looks));
    side = now;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches || crossing.length > 30) return;
    crossing.forEach((i, k) => {
      const after = tiles[i].getBoundingClientRect();
      const from = `translate(${before[k].x - after.x}px, ${before[k].y - after.y}px)`;
      tiles[i].animate([{ transform: from, zIndex: 1 }, { transform: "none", zIndex: 1 }], { duration: 260, easing: "ease-out" });
    });
  }

  function fill(box, list) {
    const wanted = list.map((i) => tiles[i]);
    // only what changed is moved: a tile that is moved loses the focus
    wanted.forEach((tile, k) => { if (box.children[k] !== tile) box.insertBefore(tile, box.children[k] ?? null); });
    const chosen = wanted.find((tile) => tile.classList.contains("open")) ?? wanted[0];
    if (chosen) chosen.tabIndex = 0;
  }

  function show(kind) {
    const i = names.indexOf(model.get("case"));
    title.textContent = names[i];
    const rows = [["", KINDS[kind.get(i)]], ...(kinds[i] ? [["", kinds[i]]] : []),
      ...[score(), ...measures].map(({ label, values }) => [label, values[i] === null ? "none" : short(values[i])])];
    facts.replaceChildren(...rows.map(([name, value]) => html("div", {}, ...(name ? [html("dt", {}, name)] : []), html("dd", {}, value))));
    scan.firstChild.hidden = places[i] < 0;
    canvas.setAttribute("aria-label", `Axial FLAIR slice of ${names[i]} with the outlines of the network and of the manual mask`);
    if (unpacked && places[i] >= 0) paint(canvas, unpacked[places[i]], ["manual", "predicted"]);
  }

  function draw(list, n, best, kind) {
    const width = Math.max(260, chart.clientWidth), height = 300, split = 208;
    const box = { left: 46, right: 18, top: 10 };
    const X = (rank) => box.left + (rank / total) * (width - box.left - box.right);
    const values = measure().values.map((v) => (v === null ? NaN : v)), known = values.filter((v) => !Number.isNaN(v));
    const high = known.every((v) => v <= 1) ? 1 : quantile(known, 0.95) * 1.15; // one huge error must not flatten the rest
    const Y = (v) => split - (Math.min(v, high) / high) * (split - box.top);
    const most = Math.max(...list.map(({ cost }) => cost), 1e-9);
    const C = (cost) => height - 22 - (cost / most) * (height - 30 - split - 14);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    picture.setAttribute("aria-label", `${measure().label} of ${total} cases in order of ${score().label}, least trusted first, and below it the cost for each number of looks; ${n.looks} are looked at.`);
    slider.style.marginLeft = `${box.left - THUMB / 2}px`;
    slider.style.width = `${width - box.left - box.right + THUMB}px`;
    const parts = [svg("rect", { class: "review", x: box.left, y: box.top, width: X(n.looks) - box.left, height: height - 22 - box.top })];
    const line = (cls, xa, ya, xb, yb) => parts.push(svg("line", { class: cls, x1: xa, y1: ya, x2: xb, y2: yb }));
    const text = (cls, x, y, anchor, content) => parts.push(svg("text", { class: cls, x, y, "text-anchor": anchor }, content));
    const scale = ticks(0, high, 4);
    for (const t of scale.list) {
      line("grid", box.left, Y(t), width - box.right, Y(t));
      text("tick", box.left - 6, Y(t) + 4, "end", fixed(t, scale.decimals));
    }
    parts.push(svg("text", { class: "axis", "text-anchor": "middle", transform: `translate(12 ${(split + box.top) / 2}) rotate(-90)` }, measure().label));
    line("limit", box.left, Y(model.get("limit")), width - box.right, Y(model.get("limit")));
    parts.push(svg("polyline", { class: "curve score", points: list.map((each) => `${X(each.looks).toFixed(1)},${C(each.cost).toFixed(1)}`).join(" ") }));
    text("axis", width - box.right, split + 24, "end", "total cost");
    parts.push(svg("path", { class: "least", d: `M${X(best.looks)} ${C(best.cost) - 6}l6 6l-6 6l-6 -6z` }));
    line("threshold", X(n.looks), box.top, X(n.looks), height - 22);
    parts.push(svg("circle", { class: "here", cx: X(n.looks), cy: C(n.cost), r: 5 }));
    text("tick", box.left, height - 6, "start", "least trusted");
    text("tick", width - box.right, height - 6, "end", "most trusted");
    order.forEach((i, rank) => {
      const node = point(kind.get(i), X(rank + 0.5), Y(values[i] === values[i] ? values[i] : measure().bad === "under" ? 0 : high));
      node.dataset.case = names[i];
      node.addEventListener("pointerenter", () => open(i));
      node.addEventListener("click", () => open(i));
      parts.push(node);
    });
    const here = order.indexOf(names.indexOf(model.get("case")));
    const v = values[order[here]];
    parts.push(svg("circle", { class: "ring", cx: X(here + 0.5), cy: Y(v === v ? v : 0), r: 9, "pointer-events": "none" }));
    picture.replaceChildren(...parts);
  }

  function quantile(list, q) {
    const sorted = [...list].sort((a, b) => a - b);
    return sorted[Math.floor(q * (sorted.length - 1))];
  }

  // A look more or less shows the scan that crossed last.
  slider.addEventListener("input", () => {
    const before = model.get("looks"), looks = Number(slider.value);
    // downwards from a group of equal scores the slider must leave it
    const down = looks < before && reachable(looks, order) >= reachable(before, order);
    let to = looks;
    while (down && to > 0 && reachable(to, order) >= reachable(before, order)) to--;
    const now = reachable(to, order);
    set({ looks: now, case: names[order[Math.min(total - 1, Math.max(0, now < before ? now : now - 1))]] });
  });
  scoreSelect.addEventListener("change", () => set({ score: scoreSelect.value }));
  measureSelect.addEventListener("change", () => {
    model.set("measure", measureSelect.value);
    set({ limit: measure().limit });
  });
  const given = (input) => input.value !== "" && Number.isFinite(Number(input.value));
  limit.addEventListener("input", () => { if (given(limit)) set({ limit: Number(limit.value) }); });
  costs.forEach((input) => input.addEventListener("input", () => {
    if (costs.every((each) => given(each) && Number(each.value) >= 0)) set({ costs: costs.map((each) => Number(each.value)) });
  }));
  next.addEventListener("click", () => {
    const missed = order.slice(reachable(model.get("looks"), order)).filter(failed);
    set({ case: names[missed[(missed.indexOf(names.indexOf(model.get("case"))) + 1) % missed.length]] });
  });

  const leave = listen(model, ["looks", "score", "measure", "limit", "costs", "case"], update, root, update);
  const repaint = () => {
    if (unpacked) tiles.forEach((tile, i) => { if (places[i] >= 0) paint(tile.firstChild, unpacked[places[i]], ["predicted"]); });
  };
  scans(packed).then((list) => { unpacked = list; root.dataset.ready = "true"; repaint(); update(); });
  update();
  return () => {
    clearTimeout(announce);
    leave();
  };
}

export default { render };
