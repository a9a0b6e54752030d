// Slice explorer: the maps of one case.

function render({ model, el }) {
  const { caption, ...maps } = model.get("maps");
  const root = html("div", { class: "wmhqc", role: "group", "aria-label": caption || "Slice explorer" });
  const pictures = viewer(maps, () => model.get("slice"), (slice) => {
    model.set("slice", slice);
    model.save_changes();
    update();
  });
  const update = () => {
    pictures.draw();
    root.dataset.slice = model.get("slice");
  };
  root.append(...pictures.nodes);
  if (caption) root.append(html("p", { class: "caption" }, caption));
  el.replaceChildren(root);
  const leave = listen(model, ["slice"], update, root, pictures.draw);
  pictures.load(maps).then(update);
  return leave;
}

export default { render };
