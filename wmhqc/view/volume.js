// Hold the volume fixed: a window over the volume, and the line of the cases within it.
// The numbers are those of hold_numbers() in volume.py; a test compares the two.

function fit(x, y) {
  const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
  const mx = mean(x), my = mean(y);
  let xx = 0, xy = 0, yy = 0;
  x.forEach((value, i) => {
    xx += (value - mx) ** 2;
    xy += (value - mx) * (y[i] - my);
    yy += (y[i] - my) ** 2;
  });
  return { r: xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : NaN, slope: xx > 0 ? xy / xx : NaN, mx, my };
}

function render({ model, el }) {
  const { names, volume, dice, tau, scores } = model.get("data");
  const total = names.length, least = Math.min(8, total);
  const score = () => scores.find(({ name }) => name === model.get("score"));
  const signed = (r) => (Number.isNaN(r) ? "undefined" : `${r < 0 ? "−" : "+"}${fixed(Math.abs(r), 2)}`);

  const root = html("div", { class: "wmhqc hold", role: "group", "aria-label": "Hold the volume fixed" });
  const buttons = scores.map(({ name, word }) => {
    const node = html("button", { type: "button" }, word);
    node.addEventListener("click", () => turn(name));
    return node;
  });
  const picture = svg("svg", { class: "chart", role: "img" }), strip = svg("svg", { class: "chart strip", role: "img" });
  const chart = html("div", { class: "plot" }, picture), band = html("div", { class: "plot" }, strip);
  const range = (label) => html("input", { type: "range", step: 1, "aria-label": label });
  const first = range("Window: place in the order of volume"), count = range("Window: number of cases");
  const words = html("p", { class: "summary", role: "status" });
  const [widths, places] = [html("output", { class: "value" }), html("output", { class: "value" })];
  root.append(
    html("div", { class: "buttons" }, html("span", {}, "Score:"), ...buttons), chart, words, band,
    html("div", { class: "controls" },
      html("div", { class: "control" }, html("span", {}, "Cases in the window"), widths, count),
      html("div", { class: "control" }, html("span", {}, "Move it"), places, first)));
  el.replaceChildren(root);

  const reach = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)], spread = high - low || 1;
    return [low - 0.05 * spread, high + 0.05 * spread];
  };
  const relative = ({ values }) => { const [low, high] = reach(values); return values.map((v) => (v - low) / (high - low)); };
  let shownX = relative(score()), frame;

  function set(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    update();
  }

  // The other score: each point slides to its new place.
  function turn(name) {
    const from = shownX;
    set({ score: name });
    const to = relative(score());
    cancelAnimationFrame(frame);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    const begun = performance.now();
    const step = (time) => {
      const t = Math.min(1, Math.max(0, (time - begun) / 700)), eased = t * t * (3 - 2 * t);
      shownX = to.map((x, i) => from[i] + eased * (x - from[i]));
      draw();
      if (t < 1) frame = requestAnimationFrame(step);
    };
    step(begun);
  }

  const windowed = () => {
    const size = Math.max(least, Math.min(total, model.get("count")));
    return [Math.max(0, Math.min(total - size, model.get("first"))), size];
  };

  function update() {
    cancelAnimationFrame(frame);
    shownX = relative(score());
    const [start, size] = windowed(), { values, label, name } = score();
    const part = (list) => list.slice(start, start + size);
    const here = fit(part(values), part(dice)), all = fit(values, dice);
    const ml = `${short(volume[start])} to ${short(volume[start + size - 1])} ml`;
    buttons.forEach((node, k) => node.setAttribute("aria-pressed", scores[k].name === name));
    Object.assign(count, { min: least, max: total, value: size });
    Object.assign(first, { min: 0, max: total - size, value: start });
    first.disabled = size === total;
    widths.textContent = `${size} of ${total}`;
    places.textContent = ml;
    count.setAttribute("aria-valuetext", `${size} of ${total} cases`);
    first.setAttribute("aria-valuetext", ml);
    words.textContent = size === total
      ? `All ${total} cases: r = ${signed(all.r)} between Dice and ${label}.`
      : `Among the ${size} cases of ${ml}: r = ${signed(here.r)}. Over all cases: ${signed(all.r)}.`;
    Object.assign(root.dataset, { score: name, first: start, count: size, r: here.r, slope: here.slope });
    picture.setAttribute("aria-label", `Dice against ${label} for ${total} cases. ${words.textContent}`);
    strip.setAttribute("aria-label", `The predicted volumes of all cases on a logarithmic axis; the window holds ${ml}.`);
    draw();
  }

  function draw() {
    const [start, size] = windowed(), { values, label } = score(), [low, high] = reach(values);
    const width = Math.max(260, chart.clientWidth), height = Math.round(Math.min(300, Math.max(230, 0.45 * width)));
    const box = { left: 54, right: 16, top: 8, bottom: 40 }, bottom = height - box.bottom;
    const X = (share) => box.left + share * (width - box.left - box.right), Y = (d) => bottom - d * (bottom - box.top);
    const place = (v) => X((v - low) / (high - low)), inside = (i) => i >= start && i < start + size;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    const parts = [];
    const add = (tag, attributes, text) => parts.push(svg(tag, attributes, text));
    const scale = ticks(low, high, width / 90);
    for (const t of scale.list) add("text", { class: "tick", x: place(t), y: bottom + 17, "text-anchor": "middle" }, fixed(t, scale.decimals));
    for (const t of [0, 0.25, 0.5, 0.75, 1]) {
      add("line", { class: "grid", x1: box.left, y1: Y(t), x2: width - box.right, y2: Y(t) });
      add("text", { class: "tick", x: box.left - 6, y: Y(t) + 4, "text-anchor": "end" }, fixed(t, 2));
    }
    add("text", { class: "axis", x: (box.left + width - box.right) / 2, y: height - 5, "text-anchor": "middle" }, label);
    add("text", { class: "axis", "text-anchor": "middle", transform: `translate(11 ${(bottom + box.top) / 2}) rotate(-90)` }, "lesion Dice");
    dice.forEach((d, i) => {
      const [x, y] = [X(shownX[i]), Y(d)], kind = `case ${d < tau ? "failed" : "good"} ${inside(i) ? "in" : "out"}`;
      const node = d < tau ? svg("path", { class: kind, d: `M${x} ${y - 5}l4.8 8.4h-9.6z` }) : svg("circle", { class: kind, cx: x, cy: y, r: 4 });
      node.append(svg("title", {}, `${names[i]}: Dice ${fixed(d, 2)}, ${label} ${short(values[i])}, ${short(volume[i])} ml`));
      parts.push(node);
    });
    line(fit(values, dice), values, "whole");
    if (size < total) line(fit(values.slice(start, start + size), dice.slice(start, start + size)), values.slice(start, start + size), "within");

    // From the smallest to the largest value of its cases, and not beyond a Dice of 0 or 1.
    function line({ slope, mx, my }, among, kind) {
      if (Number.isNaN(slope)) return;
      let ends = [Math.min(...among), Math.max(...among)];
      if (slope !== 0) {
        const at = [(0 - my) / slope + mx, (1 - my) / slope + mx].sort((a, b) => a - b);
        ends = [Math.max(ends[0], at[0]), Math.min(ends[1], at[1])];
      }
      const [a, b] = ends.map((x) => [place(x), Y(my + slope * (x - mx))]);
      add("line", { class: `fit ${kind}`, x1: a[0], y1: a[1], x2: b[0], y2: b[1] });
    }
    picture.replaceChildren(...parts);
    volumes(start, size, inside);
  }

  let V; // the axis of the strip: volume to px

  function volumes(start, size, inside) {
    const width = Math.max(260, band.clientWidth), height = 62, box = { left: 54, right: 16 };
    const [low, high] = [Math.log(volume[0]), Math.log(volume[total - 1])], spread = high - low || 1;
    V = (ml) => box.left + 8 + ((Math.log(ml) - low) / spread) * (width - box.left - box.right - 16);
    strip.setAttribute("viewBox", `0 0 ${width} ${height}`);
    strip.setAttribute("height", height);
    const [from, to] = [V(volume[start]) - 7, V(volume[start + size - 1]) + 7];
    const parts = [svg("rect", { class: "window", x: from, y: 3, width: to - from, height: 26, rx: 6 })];
    volume.forEach((ml, i) => {
      const node = svg("line", { class: `volume ${dice[i] < tau ? "failed" : "good"} ${inside(i) ? "in" : "out"}`, x1: V(ml), x2: V(ml), y1: 8, y2: 24 });
      parts.push(node);
    });
    for (const t of [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200].filter((t) => t >= volume[0] && t <= volume[total - 1]))
      parts.push(svg("text", { class: "tick", x: V(t), y: 43, "text-anchor": "middle" }, String(t)));
    parts.push(svg("text", { class: "axis", x: (box.left + width - box.right) / 2, y: 58, "text-anchor": "middle" }, "predicted volume (ml): drag the window"));
    strip.replaceChildren(...parts);
  }

  // The window is dragged by its middle; a click moves it there. An open window closes to a fifth of the cases first.
  function grasp(event) {
    const frame = strip.getBoundingClientRect(), x = (event.clientX - frame.left) * (strip.viewBox.baseVal.width / frame.width);
    const near = volume.map((ml, i) => [Math.abs(V(ml) - x), i]).sort((a, b) => a[0] - b[0])[0][1];
    const size = windowed()[1] === total ? Math.max(least, Math.round(total / 5)) : windowed()[1];
    set({ count: size, first: Math.max(0, Math.min(total - size, near - (size >> 1))) });
  }
  strip.addEventListener("pointerdown", (event) => { strip.setPointerCapture(event.pointerId); grasp(event); });
  strip.addEventListener("pointermove", (event) => { if (strip.hasPointerCapture(event.pointerId)) grasp(event); });

  count.addEventListener("input", () => {
    const [start, size] = windowed(), to = Number(count.value);
    set({ count: to, first: Math.max(0, Math.min(total - to, start + ((size - to) >> 1))) }); // about the same middle
  });
  first.addEventListener("input", () => set({ first: Number(first.value) }));
  const leave = listen(model, ["score", "first", "count"], update, root, draw);
  update();
  return () => {
    cancelAnimationFrame(frame);
    leave();
  };
}

export default { render };
