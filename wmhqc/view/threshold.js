// Threshold explorer: score against true Dice, and what a threshold keeps and flags.
// The numbers are those of threshold_numbers() in thresholds.py; a test compares the two.

const THUMB = 20; // width of the slider's thumb in px, as in explore.css

function numbers({ values, confidence }, dice, threshold, tau) {
  const count = { tp: 0, fp: 0, fn: 0, tn: 0 };
  let all = 0, used = 0;
  dice.forEach((d, i) => {
    const flagged = sent(values[i], confidence, threshold);
    count[kindOf(flagged, d < tau)] += 1;
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

// A case without a score is always sent to review.
const sent = (value, confidence, threshold) => value === null || confidence * value < confidence * threshold;
const kindOf = (flagged, failed) => (flagged ? (failed ? "tp" : "fp") : failed ? "fn" : "tn");

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

const percent = (share) => `${+(100 * share).toFixed(1)} %`;
const NAMES = {
  keep: (share) => [`Keep ${percent(share)}`, `keep ${percent(share)}`],
  catch: (share) => [`Catch ${percent(share)} of failures`, `catch ${percent(share)}`],
  guarantee: (share) => [`Guarantee at most ${percent(share)} failures`, `guarantee ≤ ${percent(share)}`],
};

function render({ model, el }) {
  const cases = model.get("cases");
  const { dice, curves } = cases;
  const now = () => cases.scores.find(({ name }) => name === model.get("score"));
  const tauNow = () => model.get("tau");

  // What Python chose on validation cases: [first step of tau, threshold or null, message].
  const choice = (score, k) => {
    const steps = score.presets[k].filter(([step]) => step <= Math.round(100 * tauNow()));
    return { value: steps.at(-1)[1], message: steps.at(-1)[2] };
  };

  // Domain of the axis and its slider.
  function domain(score) {
    const known = [...score.values, score.fixed, ...score.presets.flatMap((steps) => steps.map((step) => step[1]))];
    const reach = known.filter((value) => value !== null);
    const low = Math.min(...reach), high = Math.max(...reach);
    const spread = high - low || Math.max(Math.abs(low), 1) * 0.1;
    const step = nice(spread / 300);
    return {
      x0: Math.floor((low - 0.04 * spread) / step) * step, x1: Math.ceil((high + 0.04 * spread) / step) * step,
      step, digits: decimals(step),
    };
  }
  const domains = new Map(cases.scores.map((score) => [score.name, domain(score)]));
  const y0 = Math.max(0, Math.floor((Math.min(...dice, tauNow()) - 0.02) * 10) / 10);
  const y1 = Math.min(1, Math.ceil((Math.max(...dice, tauNow()) + 0.02) * 10) / 10);

  const root = html("div", { class: "wmhqc", role: "group" });
  const picture = svg("svg", { class: "chart", role: "img" });
  const threshold = slider("Threshold", {});
  const tau = slider("Failure limit on the Dice", { min: y0, max: y1, step: 0.01 });
  const chart = html("div", { class: "plot" }, picture, threshold.input);

  const select = html("select", { "aria-label": "Score" }, ...cases.scores.map(({ name, label }) => html("option", { value: name }, label)));
  const chooser = html("div", { class: "control" }, html("span", { "aria-hidden": "true" }, "Score"), select);
  chooser.hidden = cases.scores.length < 2;

  // Buttons, one for each threshold that was chosen beforehand.
  const buttons = html("div", { class: "buttons presets" });
  const button = (text, find) => {
    const node = html("button", { type: "button" }, text);
    node.addEventListener("click", () => set(find(now()).value, tauNow()));
    buttons.append(node);
    return node;
  };
  const chosen = cases.presets.map(([kind, share], k) => {
    const [text, short] = NAMES[kind](share);
    const find = (score) => choice(score, k);
    return { node: button(text, find), short, find };
  });
  if (cases.scores.some(({ fixed }) => fixed !== null)) {
    const none = cases.presets.length ? "" : "; the threshold starts at the median";
    const find = (score) => ({ value: score.fixed, message: score.fixed === null ? `none for this score${none}` : "" });
    const text = cases.mark[0].toUpperCase() + cases.mark.slice(1);
    chosen.unshift({ node: button(text, find), short: cases.mark, find });
  }
  const note = html("p", { class: "remark" });
  const side = html("small");
  const controls = html("div", { class: "controls" },
    html("div", { class: "control" }, html("span", { class: "name" }, "Threshold"), threshold.value, side),
    html("div", { class: "control" }, html("span", { class: "name" }, "Failed if Dice under"), tau.value, tau.input),
    ...(chosen.length ? [buttons] : []), note);

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

  // Risk-coverage curves: of the score, and of what it must be compared with.
  const risks = svg("svg", { class: "chart", role: "img" });
  const riskChart = html("div", { class: "plot" }, risks);
  const legend = html("ul", { class: "legend" });
  const lines = () => [["score", now()], ...Object.entries(curves)];
  const areas = new Map(["score", ...Object.keys(curves)].map((name) => {
    const sample = svg("svg", { class: "sample-line", viewBox: "0 0 30 10", "aria-hidden": "true" });
    sample.append(svg("line", { class: `curve ${name}`, x1: 0, y1: 5, x2: 30, y2: 5 }));
    const text = html("span"), area = html("data", { "data-name": `aurc_${name}` });
    legend.append(html("li", {}, sample, text, area));
    return [name, { text, area }];
  }));
  const curve = html("div", { class: "risk" },
    html("p", { class: "title" }, "Risk against coverage",
      html("small", {}, "risk: mean of 1 − Dice of the used cases. Numbers: its mean over all coverages (AURC), lower is better")),
    html("div", { class: "beside" }, riskChart, legend));

  const summary = html("p", { class: "summary" });
  const live = html("div", { class: "spoken", role: "status", "aria-live": "polite" });
  const results = html("div", { class: "results" }, summary, table, metrics);
  root.append(
    chooser, html("div", { class: "columns" }, html("div", {}, chart, controls), results), curve, live);
  el.replaceChildren(root);

  let announce;

  function set(value, limit) {
    model.set("value", value);
    model.set("tau", limit);
    model.save_changes();
    update();
  }

  // Another score: the same preset if one was in use, else where Python would have started.
  function change(name) {
    const active = chosen.find(({ find }) => find(now()).value === model.get("value"));
    model.set("score", name);
    const score = now();
    const known = score.values.filter((value) => value !== null).sort((a, b) => a - b);
    const first = [active, ...chosen].map((preset) => preset && preset.find(score).value).find((value) => value != null);
    set(first ?? known[known.length >> 1], tauNow());
  }

  function update() {
    const score = now(), value = model.get("value"), limit = tauNow();
    const { x0, x1, step, digits } = domains.get(score.name);
    const n = numbers(score, dice, value, limit);
    select.value = score.name;
    root.setAttribute("aria-label", `Threshold explorer: ${score.label}`);
    for (const [name, bound] of Object.entries({ min: x0, max: x1, step })) threshold.input.setAttribute(name, bound);
    threshold.input.setAttribute("aria-label", `Threshold on ${score.label}`);
    threshold.input.value = value;
    threshold.input.setAttribute("aria-valuetext", fixed(value, digits));
    threshold.value.textContent = fixed(value, digits);
    side.textContent = `a case is used if its score is not ${score.confidence > 0 ? "below" : "above"} this`;
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
    remarks(score, value);
    for (const [name, { label, aurc }] of lines()) {
      areas.get(name).text.textContent = label;
      areas.get(name).area.value = aurc;
      areas.get(name).area.textContent = fixed(aurc, 3);
    }
    root.dataset.value = value;
    root.dataset.tau = limit;
    root.dataset.score = score.name;
    picture.setAttribute("aria-label",
      `Scatter plot of ${cases.dice_label} against ${score.label} for ${n.cases} cases; ` +
      `threshold at ${fixed(value, digits)}, failure limit at Dice ${fixed(limit, 2)}.`);
    const here = n.kept ? `at a coverage of ${shown(100 * n.coverage, 0)} % the risk is ${fixed(1 - n.dice_after, 3)}` : "no case is used";
    risks.setAttribute("aria-label", `Risk against coverage for ${score.label}, beside ${
      Object.values(curves).map(({ label }) => label).join(", ")}; ${here}.`);
    draw();
    // A screen reader hears the result once the slider rests, not each step on the way.
    clearTimeout(announce);
    announce = setTimeout(() => { live.textContent = `Threshold ${fixed(value, digits)}. ${summary.textContent}`; }, 400);
  }

  // What the buttons did on the validation cases, or why they cannot be pressed.
  function remarks(score, value) {
    const parts = [];
    for (const { node, find } of chosen) {
      const { value: at, message } = find(score);
      node.disabled = at === null;
      node.setAttribute("aria-pressed", at === value);
      const said = `${node.textContent}: ${message.replace("validation:", "on the validation cases,")}.`;
      if (message && (at === null || at === value)) parts.push(said);
    }
    if (cases.presets.length) parts.push(`The dotted lines were chosen on ${cases.validation} validation cases, not on the cases shown.`);
    const none = score.values.filter((v) => v === null).length;
    if (none) parts.push(`${none} ${plural(none, "case has no score and goes", "cases have no score and go")} to review.`);
    if (cases.left_out) parts.push(`${cases.left_out} ${plural(cases.left_out, "case", "cases")} without a Dice left out.`);
    note.textContent = parts.join(" ");
  }

  function draw() {
    scatter(now(), model.get("value"), tauNow());
    risk(now(), model.get("value"));
  }

  function scatter(score, value, limit) {
    const { values, confidence, label } = score;
    const { x0, x1, digits } = domains.get(score.name);
    const marks = chosen.map(({ short, find }) => [short, find(score).value]).filter(([, at]) => at !== null);
    const width = Math.max(260, chart.clientWidth);
    const height = Math.round(Math.min(380, Math.max(250, 0.62 * width))) + 14 * marks.length;
    // Cases without a score stand in a margin of their own, on the side of review.
    const margin = values.includes(null) ? 26 : 0;
    const box = { left: 46, right: 14, top: 12 + 14 * marks.length, bottom: 42 };
    const left = box.left + (confidence > 0 ? margin : 0), right = width - box.right - (confidence > 0 ? 0 : margin);
    const bottom = height - box.bottom;
    const X = (v) => (v === null ? (confidence > 0 ? left - margin / 2 : right + margin / 2) : left + ((v - x0) / (x1 - x0)) * (right - left));
    const Y = (v) => bottom - ((v - y0) / (y1 - y0)) * (bottom - box.top);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    // The thumb stands exactly under the line it moves.
    threshold.input.style.marginLeft = `${left - THUMB / 2}px`;
    threshold.input.style.width = `${right - left + THUMB}px`;

    const parts = [];
    const line = (cls, xa, ya, xb, yb) => parts.push(svg("line", { class: cls, x1: xa, y1: ya, x2: xb, y2: yb }));
    const text = (cls, x, y, anchor, content) => parts.push(svg("text", { class: cls, x, y, "text-anchor": anchor }, content));
    const at = Math.min(right, Math.max(left, X(value)));
    const [from, to] = confidence > 0 ? [box.left, at] : [at, width - box.right];
    parts.push(svg("rect", { class: "review", x: from, y: box.top, width: to - from, height: bottom - box.top }));
    const xTicks = ticks(x0, x1, width / 90), yTicks = ticks(y0, y1, height / 55);
    const big = Math.max(Math.abs(x0), Math.abs(x1)) >= 1e5;
    for (const t of xTicks.list) {
      line("grid", X(t), box.top, X(t), bottom);
      text("tick", X(t), bottom + 17, "middle",
        big ? t.toLocaleString("en", { notation: "compact" }) : fixed(t, xTicks.decimals));
    }
    if (margin) text("tick", X(null), bottom + 17, "middle", "none");
    for (const t of yTicks.list) {
      line("grid", box.left, Y(t), width - box.right, Y(t));
      text("tick", box.left - 8, Y(t) + 4, "end", fixed(t, yTicks.decimals));
    }
    text("axis", (left + right) / 2, height - 5, "middle", label);
    parts.push(svg("text", { class: "axis", "text-anchor": "middle",
      transform: `translate(12 ${(box.top + bottom) / 2}) rotate(-90)` }, cases.dice_label));

    marks.forEach(([short, place], row) => {
      const x = X(place), end = x > width / 2;
      line("chosen", x, 4 + 14 * row, x, bottom);
      text("chosen", x + (end ? -5 : 5), 13 + 14 * row, end ? "end" : "start", short);
    });
    line("limit", box.left, Y(limit), width - box.right, Y(limit));
    line("threshold", at, box.top, at, bottom);

    const order = { tn: [], fp: [], tp: [], fn: [] };
    dice.forEach((d, i) => {
      const kind = kindOf(sent(values[i], confidence, value), d < limit);
      const mark = point(kind, X(values[i]), Y(d));
      const name = cases.name.length ? `${cases.name[i]}: ` : "";
      const said = values[i] === null ? "no score" : `${label} ${fixed(values[i], digits + 1)}`;
      mark.append(svg("title", {}, `${name}${said}, Dice ${fixed(d, 2)}`));
      order[kind].push(mark);
    });
    parts.push(...order.tn, ...order.fp, ...order.tp, ...order.fn);

    // Words last, so that no point hides them.
    const [leftWord, rightWord] = confidence > 0 ? ["to review", "used"] : ["used", "to review"];
    if (at - left > 88) text("side", at - 8, bottom - 9, "end", `← ${leftWord}`);
    if (right - at > 88) text("side", at + 8, bottom - 9, "start", `${rightWord} →`);
    text("side limit", width - box.right - 4, Y(limit) + (Y(limit) > bottom - 24 ? -6 : 15), "end", `failed: Dice < ${fixed(limit, 2)}`);
    picture.replaceChildren(...parts);
  }

  function risk(score, value) {
    const width = Math.max(240, riskChart.clientWidth), height = 220;
    const box = { left: 56, right: 24, top: 8, bottom: 40 };
    const highest = Math.max(...lines().flatMap(([, { risk }]) => risk));
    const lowest = Math.min(...curves.oracle.risk);
    const yTicks = ticks(Math.max(0, lowest - 0.02), highest + 0.01, 4);
    const r0 = Math.max(0, lowest - 0.02), r1 = highest + 0.01;
    const X = (coverage) => box.left + coverage * (width - box.left - box.right);
    const Y = (r) => height - box.bottom - ((r - r0) / (r1 - r0)) * (height - box.top - box.bottom);
    risks.setAttribute("viewBox", `0 0 ${width} ${height}`);
    risks.setAttribute("height", height);
    const parts = [];
    const add = (tag, attributes, text) => parts.push(svg(tag, attributes, text));
    for (const t of yTicks.list) {
      add("line", { class: "grid", x1: box.left, y1: Y(t), x2: width - box.right, y2: Y(t) });
      add("text", { class: "tick", x: box.left - 8, y: Y(t) + 4, "text-anchor": "end" }, fixed(t, yTicks.decimals));
    }
    for (const t of [0, 0.25, 0.5, 0.75, 1])
      add("text", { class: "tick", x: X(t), y: height - box.bottom + 17, "text-anchor": "middle" }, `${100 * t} %`);
    add("text", { class: "axis", x: (box.left + width - box.right) / 2, y: height - 5, "text-anchor": "middle" }, "Coverage: share of the cases used");
    add("text", { class: "axis", "text-anchor": "middle", transform: `translate(12 ${(height - box.bottom + box.top) / 2}) rotate(-90)` }, "Risk");
    for (const [name, { risk }] of lines().reverse()) {
      const points = risk.map((r, k) => `${X((k + 1) / risk.length).toFixed(1)},${Y(r).toFixed(1)}`).join(" ");
      add("polyline", { class: `curve ${name}`, points });
    }
    // The point where the threshold stands: k cases are used.
    const k = score.values.filter((v) => !sent(v, score.confidence, value)).length;
    if (k) {
      const r = score.risk[k - 1];
      add("line", { class: "threshold", x1: X(k / dice.length), y1: box.top, x2: X(k / dice.length), y2: height - box.bottom });
      add("circle", { class: "here", cx: X(k / dice.length), cy: Y(r), r: 6, "data-coverage": k / dice.length, "data-risk": r });
    }
    risks.replaceChildren(...parts);
  }

  threshold.input.addEventListener("input", () => set(Number(threshold.input.value), tauNow()));
  tau.input.addEventListener("input", () => set(model.get("value"), Number(tau.input.value)));
  select.addEventListener("change", () => change(select.value));
  const leave = listen(model, ["value", "tau", "score"], update, root, draw);
  update();
  return () => {
    clearTimeout(announce);
    leave();
  };
}

export default { render };
