// Case explorer: choose a point of the scatter plot, see the maps of that case.

function render({ model, el }) {
  const { points, facts, label, dice_label, tau, maps, contours, cases } = model.get("data");
  const values = points.map((point) => point[1]), dice = points.map((point) => point[2]);
  const low = Math.min(...values), high = Math.max(...values);
  const spread = high - low || Math.max(Math.abs(low), 1) * 0.1;
  const [x0, x1] = [low - 0.04 * spread, high + 0.04 * spread];
  const y0 = Math.max(0, Math.floor((Math.min(...dice, tau) - 0.02) * 10) / 10);
  const y1 = Math.min(1, Math.ceil((Math.max(...dice, tau) + 0.02) * 10) / 10);
  const digits = decimals(nice(spread / 300)) + 1;
  const score = (value) => fixed(value, digits);

  const root = html("div", { class: "wmhqc", role: "group", "aria-label": `Case explorer: ${label}` });
  const picture = svg("svg", { class: "chart choose", role: "img" });
  const chart = html("div", { class: "plot" }, picture);
  const can = points.filter(([name]) => name in cases);
  const select = html("select", { "aria-label": "Case" }, ...can.map(([name, value, d]) =>
    html("option", { value: name }, `${name}: Dice ${fixed(d, 2)}, score ${score(value)}`)));
  const words = html("p", { class: "summary", role: "status" });
  const pictures = viewer({ maps, contours }, () => model.get("slice"), (slice) => {
    model.set("slice", slice);
    model.save_changes();
    update();
  });
  root.append(
    chart,
    html("div", { class: "control" }, html("span", { "aria-hidden": "true" }, "Case"), select,
      html("small", {}, `${can.length} of the ${points.length} cases can be chosen: by a click on a large point, or here with the arrow keys`)),
    words, ...pictures.nodes);
  el.replaceChildren(root);

  let loaded;

  function choose(name) {
    if (!(name in cases)) return;
    model.set("case", name);
    model.set("slice", cases[name].slice);
    model.save_changes();
    change();
  }

  function change() {
    const name = model.get("case"), [, value, d] = points.find((point) => point[0] === name);
    select.value = name;
    const said = facts[name].map(([fact, number]) => `${fact} ${typeof number === "number" ? short(number) : number}`);
    words.textContent = `${name}: ${dice_label} ${fixed(d, 2)}, ${d < tau ? "failed" : "good"}; ${[`${label} ${score(value)}`, ...said].join(", ")}.`;
    root.dataset.case = name;
    draw();
    if (loaded !== name) pictures.load(cases[name]).then(update);
    loaded = name;
  }

  function update() {
    pictures.draw();
    root.dataset.slice = model.get("slice");
  }

  let place; // of each point that can be chosen, in px

  function draw() {
    const width = Math.max(260, chart.clientWidth);
    const height = Math.round(Math.min(340, Math.max(230, 0.5 * width)));
    const box = { left: 46, right: 18, top: 12, bottom: 42 };
    const X = (v) => box.left + ((v - x0) / (x1 - x0)) * (width - box.right - box.left);
    const Y = (v) => height - box.bottom - ((v - y0) / (y1 - y0)) * (height - box.bottom - box.top);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    picture.setAttribute("aria-label", `Scatter plot of ${dice_label} against ${label} for ${points.length} cases; chosen: ${model.get("case")}.`);
    const parts = [];
    const add = (tag, attributes, text) => parts.push(svg(tag, attributes, text));
    const xTicks = ticks(x0, x1, width / 90), yTicks = ticks(y0, y1, height / 55);
    for (const t of xTicks.list) {
      add("line", { class: "grid", x1: X(t), y1: box.top, x2: X(t), y2: height - box.bottom });
      add("text", { class: "tick", x: X(t), y: height - box.bottom + 17, "text-anchor": "middle" },
        Math.max(Math.abs(x0), Math.abs(x1)) >= 1e5 ? t.toLocaleString("en", { notation: "compact" }) : fixed(t, xTicks.decimals));
    }
    for (const t of yTicks.list) {
      add("line", { class: "grid", x1: box.left, y1: Y(t), x2: width - box.right, y2: Y(t) });
      add("text", { class: "tick", x: box.left - 8, y: Y(t) + 4, "text-anchor": "end" }, fixed(t, yTicks.decimals));
    }
    add("text", { class: "axis", x: (box.left + width - box.right) / 2, y: height - 5, "text-anchor": "middle" }, label);
    add("text", { class: "axis", "text-anchor": "middle", transform: `translate(12 ${(height - box.bottom + box.top) / 2}) rotate(-90)` }, dice_label);
    add("line", { class: "limit", x1: box.left, y1: Y(tau), x2: width - box.right, y2: Y(tau) });
    add("text", { class: "side limit", x: width - box.right - 4, y: Y(tau) + (Y(tau) > height - box.bottom - 24 ? -6 : 15), "text-anchor": "end" },
      `failed: Dice < ${fixed(tau, 2)}`);

    // Small: cannot be chosen. Large: can. Circle = good, triangle = failed.
    place = [];
    const mark = ([name, value, d], open) => {
      const [x, y, r] = [X(value), Y(d), open ? 6.5 : 2.6];
      const kind = `case ${d < tau ? "failed" : "good"}${open ? " open" : ""}`;
      const node = d < tau
        ? svg("path", { class: kind, d: `M${x} ${y - 1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}z` })
        : svg("circle", { class: kind, cx: x, cy: y, r });
      node.append(svg("title", {}, `${name}: ${label} ${score(value)}, Dice ${fixed(d, 2)}`));
      if (open) place.push([name, x, y]);
      if (open) node.dataset.case = name;
      parts.push(node);
    };
    points.filter(([name]) => !(name in cases)).forEach((point) => mark(point, false));
    can.forEach((point) => mark(point, true));
    const [, x, y] = place.find(([name]) => name === model.get("case"));
    add("circle", { class: "ring", cx: x, cy: y + 1, r: 12 });
    picture.replaceChildren(...parts);
  }

  // The nearest point that can be chosen, for fingers as well.
  picture.addEventListener("click", (event) => {
    const frame = picture.getBoundingClientRect(), scale = picture.viewBox.baseVal.width / frame.width;
    const [x, y] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    const near = place.map(([name, px, py]) => [Math.hypot(px - x, py - y), name]).sort((a, b) => a[0] - b[0])[0];
    if (near[0] < 24) choose(near[1]);
  });
  select.addEventListener("change", () => choose(select.value));
  model.on("change:case", change);
  model.on("change:slice", update);
  const observer = new ResizeObserver(() => { draw(); pictures.draw(); });
  observer.observe(root);
  change();
  return () => {
    observer.disconnect();
    model.off("change:case", change);
    model.off("change:slice", update);
  };
}

export default { render };
