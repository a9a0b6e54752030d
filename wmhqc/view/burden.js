// Burden explorer: the skill of a score over all cases and among cases of like volume.

const GROUPS = [
  ["all", "All cases"], ["within", "Within thirds"], ["small", "Small volume"], ["medium", "Medium"], ["large", "Large volume"],
];
const MEASURES = {
  auroc: { name: "AUROC", low: 0, high: 1, chance: 0.5, ticks: [0, 0.5, 1] },
  spearman: { name: "Spearman", low: -1, high: 1, chance: 0, ticks: [-1, 0, 1] },
};

function render({ model, el }) {
  const { scores, baseline, labels, groups, results } = model.get("data");
  const root = html("div", { class: "wmhqc", role: "group", "aria-label": "Burden explorer" });
  const choice = (name, options, label) => {
    const select = html("select", { "aria-label": label }, ...options.map(([value, text]) => html("option", { value }, text)));
    select.addEventListener("change", () => {
      model.set(name, select.value);
      model.save_changes();
      update();
    });
    return [html("div", { class: "control" }, html("span", { "aria-hidden": "true" }, label), select), select];
  };
  const [scoreControl, score] = choice("score", scores.map((name) => [name, labels[name]]), "Score");
  const [measureControl, measure] = choice("measure", Object.entries(MEASURES).map(([value, { name }]) => [value, name]), "Measure");

  const summary = html("p", { class: "summary", role: "status" });
  const value = html("th", { scope: "col" });
  const body = html("tbody"), axis = html("td");
  const table = html("table", { class: "forest" },
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Cases"), html("td"), value)),
    body, html("tfoot", {}, html("tr", {}, html("td"), axis, html("td"))));
  const [dot, diamond] = ["score", "baseline"].map((kind) => {
    const picture = svg("svg", { class: "symbol", viewBox: "0 0 16 16", "aria-hidden": "true" });
    picture.append(mark(kind, 8, 8));
    return picture;
  });
  const named = html("span");
  const key = html("p", { class: "remark" }, html("span", { class: "pair" }, dot, named), html("span", { class: "pair" }, diamond, `${labels[baseline]} itself`),
    html("span", {}, "Bars and brackets: 95 % intervals; dashed line: chance."));
  key.classList.add("key");
  const ml = ([low, high]) => `${short(low)} to ${short(high)}`;
  const note = html("p", { class: "remark" },
    `Thirds by ${labels[baseline]}: small ${ml(groups.small.volume)}, medium ${ml(groups.medium.volume)}, large ${ml(groups.large.volume)}. ` +
    "Within thirds: the mean over the thirds in which the measure is defined.");
  root.append(html("div", { class: "choices" }, scoreControl, measureControl), summary, table, key, note);
  el.replaceChildren(root);

  function mark(kind, x, y) {
    return kind === "score"
      ? svg("circle", { class: "estimate", cx: x, cy: y, r: 5 })
      : svg("path", { class: "estimate other", d: `M${x} ${y - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5z` });
  }

  const place = ({ low, high }, v) => 3 + (94 * (v - low)) / (high - low); // percent of the width

  function bar(kind, found, scale, y) {
    if (!found) return [];
    const [estimate, low, high] = found;
    // An SVG in an SVG takes a place in percent, and draws in pixels.
    const spot = svg("svg", { x: `${place(scale, estimate)}%`, y, overflow: "visible" });
    spot.append(mark(kind, 0, 0));
    return [svg("line", { class: `interval ${kind}`, x1: `${place(scale, low)}%`, x2: `${place(scale, high)}%`, y1: y, y2: y }), spot];
  }

  function update() {
    const name = model.get("score"), scale = MEASURES[model.get("measure")];
    const mine = results[name][model.get("measure")], other = results[baseline][model.get("measure")];
    const range = (found) => `${fixed(found[1], 2)} to ${fixed(found[2], 2)}`;
    score.value = name;
    measure.value = model.get("measure");
    value.textContent = scale.name;
    named.textContent = labels[name];
    body.replaceChildren(...GROUPS.map(([group, title]) => {
      const found = mine[group], facts = groups[group];
      const picture = svg("svg", { class: "bar-row", height: 34, width: "100%", "aria-hidden": "true" });
      picture.append(svg("line", { class: "chance", x1: `${place(scale, scale.chance)}%`, x2: `${place(scale, scale.chance)}%`, y1: 0, y2: 34 }));
      if (name !== baseline) picture.append(...bar("baseline", other[group], scale, 25));
      picture.append(...bar("score", found, scale, name === baseline ? 17 : 10));
      const text = found ? [html("data", { value: found[0] }, fixed(found[0], 2)), html("small", {}, range(found))] : [html("span", { class: "undefined" }, "undefined")];
      const row = html("tr", { "data-group": group, class: group === "within" ? "mean" : "" },
        html("th", { scope: "row" }, title, ...(facts ? [html("small", {}, `${facts.cases}, ${facts.failed} failed`)] : [html("small", {}, "mean")])),
        html("td", {}, picture), html("td", {}, ...text));
      if (found) [row.dataset.value, row.dataset.low, row.dataset.high] = found;
      return row;
    }));
    axis.replaceChildren((() => {
      const picture = svg("svg", { class: "bar-row", height: 18, width: "100%", "aria-hidden": "true" });
      for (const t of scale.ticks)
        picture.append(svg("text", { x: `${place(scale, t)}%`, y: 13, "text-anchor": "middle" }, String(t).replace("-", "−")));
      return picture;
    })());
    const said = (found) => (found ? `${fixed(found[0], 2)} (${range(found)})` : "undefined");
    summary.textContent = `${scale.name} of ${labels[name]}: ${said(mine.all)} over all cases, ${said(mine.within)} among cases of like volume.`
      + (name === baseline ? "" : ` That of ${labels[baseline]} itself: ${said(other.all)} and ${said(other.within)}.`);
    root.dataset.score = name;
    root.dataset.measure = model.get("measure");
  }

  const leave = listen(model, ["score", "measure"], update, root);
  update();
  return leave;
}

export default { render };
