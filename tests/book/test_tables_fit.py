"""No table hides its first column or its answer, no line of code is cut, folded or not: measured on every built page.

A table's answer is its last column. On a wide screen all of a table is seen. On a phone it may scroll sideways in its
own box; then the first column stays where it is, so that it is seen beside the last one.
"""

import pytest

from built import HTML, PAGES, need

WIDE, PHONE = (1280, 1920), 400

MEASURE = """(phone) => {
  const shown = (e) => e.checkVisibility({visibilityProperty: true}) && !e.closest('details:not([open])');
  const words = (e) => e.textContent.trim().replace(/\\s+/g, ' ').slice(0, 60);
  const scroller = (e) => {
    for (let box = e.parentElement; box && box.tagName !== 'ARTICLE'; box = box.parentElement)
      if (box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== 'visible') return box;
    return null;
  };
  const problems = [];
  for (const table of document.querySelectorAll('article table')) {
    if (table.closest('.wmhqc') || !shown(table) || !table.rows.length) continue;
    const row = table.rows[table.rows.length - 1], first = row.cells[0], last = row.cells[row.cells.length - 1];
    const box = scroller(table), limit = document.documentElement.clientWidth;
    if (box && !phone) problems.push(`table cut: ${words(table)}`);
    if (box && phone) box.scrollLeft = box.scrollWidth;
    const [a, z] = [first.getBoundingClientRect(), last.getBoundingClientRect()];
    if (a.left < -1 || z.right > limit + 1 || (first !== last && z.left < a.right - 1))
      problems.push(`first column or answer out of sight (${Math.round(a.left)} to ${Math.round(a.right)}, ` +
        `${Math.round(z.left)} to ${Math.round(z.right)} of ${limit} px): ${words(table)}`);
    if (box && phone) box.scrollLeft = 0;
  }
  for (const fold of document.querySelectorAll('article details')) fold.open = true;
  for (const code of document.querySelectorAll('article pre'))
    if (!code.closest('.wmhqc') && shown(code) && code.scrollWidth > code.clientWidth + 1)
      problems.push(`code cut: ${words(code)}`);
  return problems;
}"""


@pytest.mark.parametrize("width", [PHONE, *WIDE])
@pytest.mark.parametrize("name", PAGES)
def test_tables_and_code_are_seen_whole(page, name, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(need(HTML / name).as_uri())
    assert page.evaluate(MEASURE, width == PHONE) == []


def test_the_measure_finds_what_is_cut(page):
    page.set_viewport_size({"width": 400, "height": 800})
    cells = "".join(f"<td style='min-width: 200px'>{i}</td>" for i in range(6))
    code = f"<div class='highlight'><pre style='overflow: auto'>{'x' * 200}</pre></div>"
    page.set_content(f"<article><div style='overflow: auto'><table><tr>{cells}</tr></table></div>{code}</article>")
    found = page.evaluate(MEASURE, False)
    assert [text.split(" (")[0].split(":")[0] for text in found] == [
        "table cut",
        "first column or answer out of sight",
        "code cut",
    ]
    assert len(page.evaluate(MEASURE, True)) == 2, "a first column that scrolls away, and the code"
    page.add_style_tag(content="td:first-child { position: sticky; left: 0; min-width: 100px !important }")
    assert [text[:8] for text in page.evaluate(MEASURE, True)] == ["code cut"]
    page.add_style_tag(content="pre { white-space: pre-wrap; overflow-wrap: anywhere }")
    page.evaluate(
        "document.querySelector('pre').outerHTML = `<details>${document.querySelector('pre').outerHTML}</details>`"
    )
    assert page.evaluate(MEASURE, True) == []
