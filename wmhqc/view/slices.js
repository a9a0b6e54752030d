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
  model.on("change:slice", update);
  const observer = new ResizeObserver(pictures.draw);
  observer.observe(root);
  pictures.load(maps).then(update);
  return () => {
    observer.disconnect();
    model.off("change:slice", update);
  };
}

export default { render };
