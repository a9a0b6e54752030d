// Threshold explorer: score against true Dice, and what a threshold keeps and flags.
// The numbers are those of threshold_numbers() in explore.py; a test compares the two.

const THUMB = 20; // width of the slider's thumb in px, as in explore.css

function numbers({ score, dice, confidence }, threshold, tau) {
  const count = { tp: 0, fp: 0, fn: 0, tn: 0 };
  let all = 0, used = 0;
  dice.forEach((d, i) => {
    const flagged = confidence * score[i] < confidence * threshold;
    const failed = d < tau;
    count[flagged ? (failed ? "tp" : "fp") : failed ? "fn" : "tn"] += 1;
    all += d;
    if (!flagged) used += d;
  });
  const { tp, fp, fn, tn } = count;
  const ratio = (part, whole) => (whole ? part / whole : NaN);
  return {
    ...count, cases: dice.length, kept: fn + tn, flagged: tp + fp,
    sensitivity: ratio(tp, tp + fn), ppv: ratio(tp, tp + fp),
    specificity: ratio(tn, tn + fp), npv: ratio(tn, tn + fn),
    coverage: ratio(fn + tn, dice.length),
    dice_before: ratio(all, dice.length), dice_after: ratio(used, fn + tn),
  };
}

// The threshold that keeps, or catches, at least this share: the mildest that does.
function preset({ score, dice, confidence }, kind, share, tau, strictest) {
  const trust = score.map((s) => confidence * s).sort((a, b) => a - b);
  const need = (n) => Math.ceil(share * n - 1e-9);
  if (kind === "keep") return confidence * trust[trust.length - need(trust.length)];
  const failed = score.filter((_, i) => dice[i] < tau).map((s) => confidence * s).sort((a, b) => a - b);
  if (!failed.length) return null;
  const above = trust.find((q) => q > failed[need(failed.length) - 1]);
  return above === undefined ? strictest : confidence * above;
}

// Circle = good, triangle = failed; filled = used, hollow = sent to review.
function point(kind, x, y) {
  const failed = kind === "tp" || kind === "fn";
  return failed
    ? svg("path", { class: `point ${kind}`, d: `M${x} ${y - 5.6}l5.4 9.4h-10.8z` })
    : svg("circle", { class: `point ${kind}`, cx: x, cy: y, r: 4.4 });
}

function symbol(kind) {
  const picture = svg("svg", { class: "symbol", viewBox: "0 0 16 16", "aria-hidden": "true" });
  picture.append(point(kind, 8, 8));
  return picture;
}

function slider(label, attributes) {
  const input = html("input", { type: "range", "aria-label": label, ...attributes });
  const value = html("output", { class: "value" });
  return { input, value };
}

function render({ model, el }) {
  const cases = model.get("cases");
  const { score, dice, confidence, chosen } = cases;

  // Domain of the two axes, which is that of the two sliders.
  const reach = [...score, ...(chosen === null ? [] : [chosen])];
  const low = Math.min(...reach), high = Math.max(...reach);
  const spread = high - low || Math.max(Math.abs(low), 1) * 0.1;
  const step = nice(spread / 300);
  const x0 = Math.floor((low - 0.04 * spread) / step) * step;
  const x1 = Math.ceil((high + 0.04 * spread) / step) * step;
  const digits = decimals(step);
  const y0 = Math.max(0, Math.floor((Math.min(...dice, model.get("tau")) - 0.02) * 10) / 10);
  const y1 = Math.min(1, Math.ceil((Math.max(...dice, model.get("tau")) + 0.02) * 10) / 10);

  const root = html("div", { class: "wmhqc", role: "group", "aria-label": `Threshold explorer: ${cases.label}` });
  const picture = svg("svg", { class: "chart", role: "img" });
  const threshold = slider(`Threshold on ${cases.label}`, { min: x0, max: x1, step });
  const tau = slider("Failure limit on the Dice", { min: y0, max: y1, step: 0.01 });
  const chart = html("div", { class: "plot" }, picture, threshold.input);

  // Buttons
  const buttons = html("div", { class: "buttons" });
  const button = (text, title, find) => {
    const node = html("button", { type: "button", title }, text);
    node.addEventListener("click", () => set(find(), tauNow()));
    buttons.append(node);
    return node;
  };
  if (chosen !== null) button("Validation threshold", "Chosen on validation cases, not on these", () => chosen);
  const strictest = confidence > 0 ? x1 : x0;
  const shares = cases.presets.map(([kind, share]) => {
    const percent = `${+(100 * share).toFixed(1)} %`;
    const find = () => preset(cases, kind, share, tauNow(), strictest);
    const text = kind === "keep" ? `Keep ${percent}*` : `Catch ${percent} of failures*`;
    return { node: button(text, "Worked out on the cases shown", find), find };
  });
  const note = html("p", { class: "remark" });
  if (cases.presets.length) note.append("* worked out on the cases shown: expect worse on new ones. ");
  if (cases.left_out)
    note.append(`${cases.left_out} ${plural(cases.left_out, "case", "cases")} without a score or a Dice left out.`);

  const controls = html("div", { class: "controls" },
    html("div", { class: "control" }, html("span", { class: "name" }, "Threshold"), threshold.value,
      html("small", {}, `a case is used if its score is not ${confidence > 0 ? "below" : "above"} this`)),
    html("div", { class: "control" }, html("span", { class: "name" }, "Failed if Dice under"), tau.value, tau.input),
    buttons, note);

  // Confusion table: also the legend of the picture.
  const cells = {}, words = {};
  const cell = (kind, short) => {
    cells[kind] = html("data", { class: "count", "data-name": kind });
    words[kind] = html("span", { class: "words" });
    return html("td", { class: kind },
      html("span", { class: "head" }, symbol(kind), cells[kind], html("abbr", { title: short[1] }, short[0])), words[kind]);
  };
  const heads = { flagged: html("data", { "data-name": "flagged" }), kept: html("data", { "data-name": "kept" }) };
  const table = html("table", {},
    html("thead", {}, html("tr", {}, html("td", {}),
      html("th", { scope: "col" }, "To review: ", heads.flagged), html("th", { scope: "col" }, "Used: ", heads.kept))),
    html("tbody", {},
      html("tr", {}, html("th", { scope: "row" }, "Failed"),
        cell("tp", ["TP", "true positive"]), cell("fn", ["FN", "false negative"])),
      html("tr", {}, html("th", { scope: "row" }, "Good"),
        cell("fp", ["FP", "false positive"]), cell("tn", ["TN", "true negative"]))));

  const metrics = html("dl");
  const metric = (name, title, meaning) => {
    cells[name] = html("data", { "data-name": name });
    metrics.append(html("div", {}, html("dt", {}, title, html("small", {}, meaning)), html("dd", {}, cells[name])));
  };
  metric("sensitivity", "Sensitivity", "of failures, reviewed");
  metric("ppv", "PPV", "of reviewed, failed");
  metric("specificity", "Specificity", "of good, used");
  metric("npv", "NPV", "of used, good");
  metric("coverage", "Coverage", "of all, used");
  metric("dice_before", "Mean Dice", "of all cases");
  metric("dice_after", "Mean Dice", "of used cases");

  const summary = html("p", { class: "summary" });
  const live = html("div", { class: "spoken", role: "status", "aria-live": "polite" });
  const results = html("div", { class: "results" }, summary, table, metrics);
  root.append(html("div", { class: "columns" }, html("div", {}, chart, controls), results), live);
  el.replaceChildren(root);

  const tauNow = () => model.get("tau");
  let announce;

  function set(value, limit) {
    model.set("value", value);
    model.set("tau", limit);
    model.save_changes();
    update();
  }

  function update() {
    const value = model.get("value"), limit = tauNow();
    const n = numbers(cases, value, limit);
    threshold.input.value = value;
    threshold.input.setAttribute("aria-valuetext", fixed(value, digits));
    threshold.value.textContent = fixed(value, digits);
    tau.input.value = limit;
    tau.value.textContent = fixed(limit, 2);
    for (const [name, node] of Object.entries({ ...cells, ...heads })) {
      node.value = n[name];
      node.textContent = Number.isInteger(n[name]) && name in { tp: 0, fp: 0, fn: 0, tn: 0, kept: 0, flagged: 0 }
        ? n[name] : name === "coverage" ? `${shown(100 * n[name], 0)} %` : shown(n[name]);
      node.classList.toggle("undefined", Number.isNaN(n[name]));
    }
    words.tp.textContent = plural(n.tp, "failure caught", "failures caught");
    words.fn.textContent = plural(n.fn, "poor segmentation would be used", "poor segmentations would be used");
    words.fp.textContent = plural(n.fp, "good one sent to review", "good ones sent to review");
    words.tn.textContent = plural(n.tn, "good one used", "good ones used");
    const after = n.kept ? `Their mean Dice is ${shown(n.dice_after)} (all cases: ${shown(n.dice_before)}).` : "";
    summary.textContent =
      `${n.kept} of ${n.cases} cases are used, ${n.flagged} ${plural(n.flagged, "goes", "go")} to review. ` +
      `${n.fn} poor ${plural(n.fn, "segmentation", "segmentations")} would be used. ${after}`;
    for (const { node, find } of shares) node.disabled = find() === null;
    root.dataset.value = value;
    root.dataset.tau = limit;
    picture.setAttribute("aria-label",
      `Scatter plot of ${cases.dice_label} against ${cases.label} for ${n.cases} cases; ` +
      `threshold at ${fixed(value, digits)}, failure limit at Dice ${fixed(limit, 2)}.`);
    draw(value, limit);
    // A screen reader hears the result once the slider rests, not each step on the way.
    clearTimeout(announce);
    announce = setTimeout(() => { live.textContent = `Threshold ${fixed(value, digits)}. ${summary.textContent}`; }, 400);
  }

  function draw(value, limit) {
    const width = Math.max(260, chart.clientWidth);
    const height = Math.round(Math.min(380, Math.max(250, 0.62 * width)));
    const box = { left: 46, right: 14, top: chosen === null ? 12 : 26, bottom: 42 };
    const right = width - box.right, bottom = height - box.bottom;
    const X = (v) => box.left + ((v - x0) / (x1 - x0)) * (right - box.left);
    const Y = (v) => bottom - ((v - y0) / (y1 - y0)) * (bottom - box.top);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    // The thumb stands exactly under the line it moves.
    threshold.input.style.marginLeft = `${box.left - THUMB / 2}px`;
    threshold.input.style.width = `${right - box.left + THUMB}px`;

    const parts = [];
    const line = (cls, xa, ya, xb, yb) => parts.push(svg("line", { class: cls, x1: xa, y1: ya, x2: xb, y2: yb }));
    const text = (cls, x, y, anchor, content) => parts.push(svg("text", { class: cls, x, y, "text-anchor": anchor }, content));
    const at = Math.min(right, Math.max(box.left, X(value)));
    const [from, to] = confidence > 0 ? [box.left, at] : [at, right];
    parts.push(svg("rect", { class: "review", x: from, y: box.top, width: to - from, height: bottom - box.top }));
    const xTicks = ticks(x0, x1, width / 90), yTicks = ticks(y0, y1, height / 55);
    const big = Math.max(Math.abs(x0), Math.abs(x1)) >= 1e5;
    for (const t of xTicks.list) {
      line("grid", X(t), box.top, X(t), bottom);
      text("tick", X(t), bottom + 17, "middle",
        big ? t.toLocaleString("en", { notation: "compact" }) : fixed(t, xTicks.decimals));
    }
    for (const t of yTicks.list) {
      line("grid", box.left, Y(t), right, Y(t));
      text("tick", box.left - 8, Y(t) + 4, "end", fixed(t, yTicks.decimals));
    }
    text("axis", (box.left + right) / 2, height - 5, "middle", cases.label);
    parts.push(svg("text", { class: "axis", "text-anchor": "middle",
      transform: `translate(12 ${(box.top + bottom) / 2}) rotate(-90)` }, cases.dice_label));

    if (chosen !== null) {
      const x = X(chosen);
      line("chosen", x, box.top - 6, x, bottom);
      const end = x > width / 2;
      text("chosen", x + (end ? 5 : -5), box.top - 11, end ? "end" : "start", "chosen on validation cases");
    }
    line("limit", box.left, Y(limit), right, Y(limit));
    line("threshold", at, box.top, at, bottom);

    const order = { tn: [], fp: [], tp: [], fn: [] };
    dice.forEach((d, i) => {
      const flagged = confidence * score[i] < confidence * value;
      const kind = flagged ? (d < limit ? "tp" : "fp") : d < limit ? "fn" : "tn";
      const mark = point(kind, X(score[i]), Y(d));
      const name = cases.name.length ? `${cases.name[i]}: ` : "";
      mark.append(svg("title", {}, `${name}${cases.label} ${fixed(score[i], digits + 1)}, Dice ${fixed(d, 2)}`));
      order[kind].push(mark);
    });
    parts.push(...order.tn, ...order.fp, ...order.tp, ...order.fn);

    // Words last, so that no point hides them.
    const [leftWord, rightWord] = confidence > 0 ? ["to review", "used"] : ["used", "to review"];
    if (at - box.left > 88) text("side", at - 8, bottom - 9, "end", `← ${leftWord}`);
    if (right - at > 88) text("side", at + 8, bottom - 9, "start", `${rightWord} →`);
    text("side limit", right - 4, Y(limit) + (Y(limit) > bottom - 24 ? -6 : 15), "end", `failed: Dice < ${fixed(limit, 2)}`);
    picture.replaceChildren(...parts);
  }

  threshold.input.addEventListener("input", () => set(Number(threshold.input.value), tauNow()));
  tau.input.addEventListener("input", () => set(model.get("value"), Number(tau.input.value)));
  model.on("change:value", update);
  model.on("change:tau", update);
  const observer = new ResizeObserver(() => draw(model.get("value"), tauNow()));
  observer.observe(chart);
  update();
  return () => {
    observer.disconnect();
    clearTimeout(announce);
    model.off("change:value", update);
    model.off("change:tau", update);
  };
}

export default { render };
