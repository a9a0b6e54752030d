// Break the scan: outline, entropy and scores of a spoilt scan; the true Dice stays covered until the reader guesses.

function render({ model, el }) {
  const { artefacts, severities, places, dice, scores, tau, shape: [nx, ny, nz], ratio, packed } = model.get("data");
  const grey = colours(GREY), cividis = colours(CIVIDIS);
  const [clean] = places[0], size = nx * ny * nz;
  const title = Object.fromEntries(artefacts), which = () => artefacts.findIndex(([name]) => name === model.get("artefact"));
  const now = () => places[which()][model.get("severity")];
  const open = new Set([clean]), guesses = new Map(); // scans whose Dice is uncovered, and what was guessed
  let data = null, asked = null;

  const set = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    update();
  };

  const root = html("div", { class: "wmhqc broken", role: "group", "aria-label": "Break the scan" });
  const artefact = choice("Artefact", artefacts, (name) => set({ artefact: name, severity: model.get("severity") || 1 }));
  const severity = range("Severity", { min: 0, max: severities.length - 1, step: 1 }, (k) => set({ severity: k }));
  const slice = range("Slice", { min: 0, max: nz - 1, step: 1 }, (z) => set({ slice: z }));
  const scan = sliceFrame("FLAIR", { role: "img" }), entropy = sliceFrame("Entropy (bit)", { role: "img" });
  const legend = html("div", { class: "scale" }, html("span", {}, lineSample(STYLES[1].color, true), "network"),
    html("span", { class: "truth" }, lineSample(STYLES[0].color), "manual"));
  scan.frame.append(legend);
  entropy.frame.append(colourBar(CIVIDIS, "0", "1"));

  const rows = scores.map(({ label }) => {
    const cells = ["before", "now", "verdict"].map(() => html("td"));
    return { cells, row: html("tr", {}, html("th", { scope: "row" }, label), ...cells) };
  });
  const head = ["Score", "Clean scan", "This scan", "It says"].map((text) => html("th", { scope: "col" }, text));
  const table = html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows.map(({ row }) => row)));

  const guess = range("Your guess of the true Dice", { min: 0, max: 1, step: 0.01 }, (value) => guess.show(value, fixed(value, 2)));
  const lift = html("button", { type: "button" }, "Lift the cover");
  lift.addEventListener("click", () => {
    guesses.set(now(), Number(guess.row.querySelector("input").value));
    open.add(now());
    update();
  });
  const all = html("button", { type: "button" }, "Lift all covers");
  all.addEventListener("click", () => {
    dice.forEach((_, k) => open.add(k));
    update();
  });
  const cover = html("output", { class: "cover" });
  const words = html("p", { class: "summary", role: "status" });
  const score = choice("Score on the axis", scores.map(({ name, label }) => [name, label]), (name) => set({ score: name }));
  const picture = svg("svg", { class: "chart", role: "img" });
  const note = html("p", { class: "remark" });
  root.append(
    html("div", { class: "choices" }, artefact.row, slice.row), html("div", { class: "controls" }, severity.row),
    html("div", { class: "panels two" }, scan.frame, entropy.frame), table,
    html("div", { class: "ask" }, html("div", { class: "control" }, html("span", {}, "True Dice"), cover), guess.row,
      html("div", { class: "buttons" }, lift, all)),
    words, score.row, html("div", { class: "plot" }, picture), note);
  el.replaceChildren(root);
  const letters = (a) => artefacts[a][1][0].toUpperCase() + artefacts[a][1][1];

  const said = (value, { values }) => (value === null ? "undefined" : fixed(value, Math.max(...values.map(Math.abs)) >= 100 ? 0 : 2));
  const trusted = (value, { sign, threshold }) => value !== null && sign * value >= sign * threshold;

  function draw() {
    if (!data) return;
    const k = now(), grid = { nx, ny, ratio };
    const at = (map, x, y) => data[size + (3 * k + map) * size + (model.get("slice") * ny + y) * nx + x];
    const context = paintSlice(scan.canvas, grid, (x, y) => grey[at(0, x, y)]);
    contourSlice(context, grid, (x, y) => at(1, x, y) / 63, { color: "#000", width: 3, alpha: 0.6 });
    contourSlice(context, grid, (x, y) => at(1, x, y) / 63, { color: STYLES[1].color, dash: [5, 3] });
    if (open.has(k)) contourSlice(context, grid, (x, y) => data[(model.get("slice") * ny + y) * nx + x], { color: STYLES[0].color });
    paintSlice(entropy.canvas, grid, (x, y) => cividis[at(2, x, y)]);
    drawPlane();
  }

  // Scores against the Dice, of the scans that are uncovered; a letter for each artefact.
  function drawPlane() {
    const chosen = scores.find(({ name }) => name === model.get("score")), { values, threshold, sign } = chosen;
    const known = [...values.filter((v) => v !== null), threshold];
    const [low, high] = [Math.min(...known), Math.max(...known)], room = 0.08 * (high - low || 1);
    const width = Math.max(260, picture.clientWidth), height = Math.round(Math.min(320, Math.max(230, 0.5 * width)));
    const { X, Y, box, add, line, done } = axes(picture, {
      width, height, x: [low - room, high + room], y: [0, 1], xlabel: chosen.label, ylabel: "true Dice", xticks: width / 90, yticks: 5 });
    const used = [X(threshold), X(sign > 0 ? high + room : low - room)].sort((a, b) => a - b);
    add("rect", { class: "silent", x: used[0], y: Y(tau), width: used[1] - used[0], height: Y(0) - Y(tau) });
    add("line", { class: "threshold", x1: X(threshold), y1: box.top, x2: X(threshold), y2: Y(0) });
    add("line", { class: "limit", x1: box.left, y1: Y(tau), x2: width - box.right, y2: Y(tau) });
    add("text", { class: "side limit", x: Math.min((used[0] + used[1]) / 2, width - box.right - 48), y: Y(0) - 8, "text-anchor": "middle" }, "failed, and used");
    places.forEach((list, a) => {
      const shown = list.filter((k) => open.has(k) && values[k] !== null);
      line(shown.map((k) => [values[k], dice[k]]), { class: a === which() ? "curve score" : "curve" });
      shown.filter((k) => k !== clean).forEach((k) => {
        const mark = add("g", { class: `trail${a === which() ? " mine" : ""}` });
        mark.append(svg("circle", { cx: X(values[k]), cy: Y(dice[k]), r: 10 }),
          svg("text", { x: X(values[k]), y: Y(dice[k]) + 4, "text-anchor": "middle" }, letters(a)));
      });
    });
    if (values[clean] !== null) add("circle", { class: "here", cx: X(values[clean]), cy: Y(dice[clean]), r: 6 });
    if (open.has(now()) && now() !== clean && values[now()] !== null)
      add("circle", { class: "ring", cx: X(values[now()]), cy: Y(dice[now()]), r: 12 });
    picture.setAttribute("aria-label", `True Dice against ${chosen.label} of the ${open.size} scans that are uncovered.`);
    done();
  }

  function update() {
    const k = now(), covered = !open.has(k), step = severities[model.get("severity")];
    artefact.select.value = model.get("artefact");
    score.select.value = model.get("score");
    severity.show(model.get("severity"), step ? fixed(step, 2) : "0, the clean scan");
    slice.show(model.get("slice"), `${model.get("slice") + 1} of ${nz}`);
    rows.forEach(({ cells: [before, here, verdict], row }, i) => {
      const fine = trusted(scores[i].values[k], scores[i]);
      before.textContent = said(scores[i].values[clean], scores[i]);
      here.textContent = said(scores[i].values[k], scores[i]);
      verdict.textContent = fine ? "use it" : "look at it";
      row.className = fine ? "" : "doubted";
    });
    cover.textContent = covered ? "covered" : fixed(dice[k], 2);
    cover.classList.toggle("covered", covered);
    if (covered && asked !== k) guess.show(0.5, fixed(0.5, 2)); // a new scan, a new guess
    asked = k;
    guess.row.hidden = lift.hidden = !covered;
    all.disabled = open.size === dice.length;
    legend.querySelector(".truth").hidden = covered;
    const named = title[model.get("artefact")];
    const what = step ? `${named[0].toUpperCase()}${named.slice(1)}, severity ${fixed(step, 2)}` : "Clean scan";
    const fooled = scores.filter((each) => trusted(each.values[k], each)).length;
    words.textContent = covered
      ? `${what}: how good is the outline still? Commit to a number; then the cover lifts.`
      : `${what}: true Dice ${fixed(dice[k], 2)}${guesses.has(k) ? `, your guess ${fixed(guesses.get(k), 2)}` : ""}. `
        + (dice[k] >= tau ? "Not failed." : fooled ? `Failed, and ${fooled} of ${scores.length} scores would use it.` : "Failed, and every score says so.");
    const off = [...guesses].map(([i, value]) => Math.abs(value - dice[i]));
    note.textContent = `Blue ring: the clean scan; ${artefacts.map(([, name], a) => `${letters(a)}: ${name}`).join(", ")}. Dashed: below it a segmentation has failed. `
      + (off.length ? `Your ${off.length} ${plural(off.length, "guess is", "guesses are")} off by ${fixed(off.reduce((a, b) => a + b, 0) / off.length, 2)} on average.` : "");
    for (const [{ canvas }, name] of [[scan, "FLAIR with the network's outline"], [entropy, "Entropy"]])
      canvas.setAttribute("aria-label", `${name}, ${what}, slice ${model.get("slice") + 1} of ${nz}`);
    Object.assign(root.dataset, { artefact: model.get("artefact"), severity: step, covered, open: open.size });
    draw();
  }

  const leave = listen(model, ["artefact", "severity", "slice", "score"], update, root, draw);
  update();
  unpack(packed).then((bytes) => {
    data = bytes;
    draw();
  });
  return leave;
}

export default { render };
