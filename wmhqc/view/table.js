// Table explorer: rows that the reader searches, filters and sorts.

function render({ model, el }) {
  const { columns, rows, filters, links, caption, noun, page, separator, missing } = model.get("data");
  const visible = columns.map((column, i) => ({ ...column, i })).filter((column) => column.shown && !column.folded);
  const folded = columns.map((column, i) => ({ ...column, i })).filter((column) => column.folded);
  const place = Object.fromEntries(columns.map(({ name }, i) => [name, i]));
  const values = (cell) => (cell === null ? [missing] : String(cell).split(separator));
  const parts = (cell, number) => {
    if (number) return [String(cell).replace("-", "−")];
    const all = values(cell);
    return all.length === 1 ? all : all.map((value, i) => // one value a line
      html("span", { class: "part" }, value + (i < all.length - 1 ? separator : "")));
  };
  let before = "";
  const words = rows.map((row) => row.filter((cell) => cell !== null).join(" ").toLowerCase());

  const root = html("div", { class: "wmhqc", role: "group", "aria-label": `Table explorer: ${caption}` });
  const labelled = (text, control) => html("label", { class: "filter" }, html("span", {}, text), control);
  const search = html("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const selects = filters.map((name) => {
    const counts = new Map();
    for (const row of rows) for (const value of values(row[place[name]])) counts.set(value, (counts.get(value) || 0) + 1);
    const options = [...counts].sort(([a], [b]) => (a === missing) - (b === missing) || a.localeCompare(b, "en", { numeric: true }));
    return html("select", {}, html("option", { value: "" }, "all"),
      ...options.map(([value, n]) => html("option", { value }, `${value} (${n})`)));
  });
  const clear = html("button", { type: "button" }, "Clear");
  const status = html("p", { class: "summary", role: "status" });

  const heads = visible.map(({ label, number }) => {
    const arrow = html("span", { class: "arrow", "aria-hidden": "true" });
    const button = html("button", { type: "button" }, label, arrow);
    return { head: html("th", { scope: "col", ...(number ? { class: "number" } : {}) }, button), button, arrow };
  });
  const lines = rows.map((row, r) => html("tr", {}, ...visible.map(({ i, number }, c) => {
    const attributes = { ...(c === 0 ? { scope: "row" } : {}), ...(number ? { class: "number" } : {}) };
    const text = row[i] === null ? [html("span", { class: "undefined" }, folded.length && number ? "–" : missing)] : parts(row[i], number);
    const cell = html(c === 0 ? "th" : "td", attributes, ...(c === 0 && links[r] ? [html("a", { href: links[r] }, ...text)] : text));
    if (c === 0 && folded.length) cell.prepend(unfold(r));
    return cell;
  })));
  let open = -1, first = 0; // the row that is unfolded; the first row of those on the page

  function unfold(r) {
    const button = html("button", { type: "button", class: "unfold", "aria-expanded": "false", "aria-label": `More of ${rows[r][visible[0].i]}` });
    button.addEventListener("click", () => { open = open === r ? -1 : r; update(); });
    return button;
  }

  const more = (r) => html("tr", { class: "more" }, html("td", { colspan: visible.length }, html("dl", {},
    ...[...folded, ...visible.filter(({ number }) => number).map((column) => ({ ...column, narrow: true }))] // what a phone has no column for
      .filter(({ i }) => rows[r][i] !== null).map(({ label, i, number, narrow }) =>
      html("div", narrow ? { class: "narrow" } : {}, html("dt", {}, label), html("dd", {}, ...parts(rows[r][i], number)))))));
  const none = html("tr", {}, html("td", { colspan: visible.length, class: "undefined" }, `No ${noun} match.`));
  const body = html("tbody");
  const box = html("div", { class: "rows", role: "region", tabindex: "0", "aria-label": caption },
    html("table", {}, html("thead", {}, html("tr", {}, ...heads.map(({ head }) => head))), body));
  const [back, on] = ["Previous", "Next"].map((word) => html("button", { type: "button" }, word)), where = html("span", { "aria-live": "polite" });
  const pager = html("div", { class: "pager" }, back, where, on);
  const choosers = filters.map((name, i) => labelled(columns[place[name]].label, selects[i]));
  const many = html("details", { class: "many" }, html("summary", {}, `Choose by ${choosers.map((each) => each.firstChild.textContent.toLowerCase()).join(", ")}`), html("div", { class: "filters" }, ...choosers));
  root.append(
    html("div", { class: "filters" }, labelled("Search", search), ...(filters.length > 2 ? [] : choosers), clear),
    ...(filters.length > 2 ? [many] : []), status, box, pager);
  el.replaceChildren(root);

  // Missing values stand last in both directions; rows that are alike keep their order.
  function compare(a, b) {
    const i = place[model.get("sort")], x = rows[a][i], y = rows[b][i];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    const way = model.get("descending") ? -1 : 1;
    const order = columns[i].number ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return way * order || a - b;
  }

  function update() {
    const asked = model.get("search").toLowerCase().split(/\s+/).filter(Boolean), chosen = model.get("chosen");
    const fits = (r) => asked.every((word) => words[r].includes(word))
      && filters.every((name) => !chosen[name] || values(rows[r][place[name]]).includes(chosen[name]));
    const kept = rows.map((_, r) => r).filter(fits);
    const sort = model.get("sort") in place ? model.get("sort") : "";
    if (sort) kept.sort(compare);
    const now = JSON.stringify([asked, chosen, sort, model.get("descending")]);
    if (now !== before) [before, first, open] = [now, 0, -1]; // another choice begins at its first row
    first = Math.max(0, Math.min(first, page * (Math.ceil(kept.length / page) - 1)));
    kept.forEach((r, n) => { // the rest stays for print
      lines[r].classList.toggle("off", n < first || n >= first + page);
      lines[r].querySelector(".unfold")?.setAttribute("aria-expanded", String(r === open));
    });
    body.replaceChildren(...(kept.length ? kept.flatMap((r) => (r === open ? [lines[r], more(r)] : [lines[r]])) : [none]));
    pager.hidden = kept.length <= page;
    [back.disabled, on.disabled] = [first === 0, first + page >= kept.length];
    where.textContent = `${first + 1} to ${Math.min(first + page, kept.length)} of ${kept.length}`;
    if (search.value !== model.get("search")) search.value = model.get("search");
    filters.forEach((name, i) => { selects[i].value = chosen[name] || ""; });
    visible.forEach(({ name }, c) => {
      const { head, arrow } = heads[c];
      const way = model.get("descending") ? "descending" : "ascending";
      if (name === sort) head.setAttribute("aria-sort", way);
      else head.removeAttribute("aria-sort");
      arrow.textContent = name === sort ? (way === "ascending" ? "▲" : "▼") : "↕";
    });
    const narrowed = asked.length > 0 || filters.some((name) => chosen[name]);
    clear.disabled = !narrowed && !sort;
    const by = sort ? `, sorted by ${columns[place[sort]].label}, ${model.get("descending") ? "falling" : "rising"}` : "";
    status.textContent = (narrowed ? `${kept.length} of ${rows.length} ${noun}` : `All ${rows.length} ${noun}`) + `${by}.`;
    [root.dataset.shown, root.dataset.sort, root.dataset.search] = [kept.length, sort, model.get("search")];
  }

  function set(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    update();
  }

  const turn = (rows_, self, other) => () => {
    [first, open] = [first + rows_, -1];
    update();
    if (self.disabled) other.focus(); // a disabled button would lose it
  };
  back.addEventListener("click", turn(-page, back, on));
  on.addEventListener("click", turn(page, on, back));
  search.addEventListener("input", () => set({ search: search.value }));
  filters.forEach((name, i) => selects[i].addEventListener("change", () =>
    set({ chosen: { ...model.get("chosen"), [name]: selects[i].value } })));
  visible.forEach(({ name }, c) => heads[c].button.addEventListener("click", () =>
    set({ sort: name, descending: model.get("sort") === name && !model.get("descending") })));
  clear.addEventListener("click", () => {
    set({ search: "", chosen: {}, sort: "", descending: false });
    search.focus(); // a disabled button would lose it
  });

  const leave = listen(model, ["search", "chosen", "sort", "descending"], update, root);
  update();
  return leave;
}

export default { render };
