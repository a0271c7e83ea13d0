// Sorts and filters the rows of every table in an element with data-table. At most STEP rows are
// shown until the reader asks for more: laying out thousands takes a browser about a second.
(() => {
  "use strict";
  const STEP = 500;
  const collator = new Intl.Collator("en", { numeric: true });

  for (const element of document.querySelectorAll("[data-table]")) enhance(element);

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  function enhance(element) {
    const table = element.querySelector("table");
    const body = table.tBodies[0];
    const status = element.querySelector("[role=status]");
    const more = element.querySelector("button.more");
    const headers = [...table.tHead.rows[0].cells];
    const keys = headers.map((header) => header.dataset.key);
    const rows = [...body.rows].map((row) => ({
      row,
      cells: Array.from(row.cells, (cell) => cell.textContent),
    }));
    const controls = [...element.querySelectorAll("[data-filter]")].map((control) => ({
      control,
      columns: control.dataset.filter.split(" ").map((key) => keys.indexOf(key)),
    }));

    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => {
        const ascending = header.getAttribute("aria-sort") !== "ascending";
        for (const other of headers) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(rows, column, header.classList.contains("number"), ascending);
        update();
      });
      header.append(button);
    });

    let limit = STEP;
    more.addEventListener("click", () => {
      limit += STEP;
      update();
    });
    addEventListener("beforeprint", () => {
      limit = rows.length;
      update();
    });
    for (const { control } of controls) control.addEventListener("input", update);
    for (const filters of element.querySelectorAll(".filters")) filters.hidden = false;
    update();

    function update() {
      const tests = controls.map(testOf).filter(Boolean);
      const matching = rows.filter(({ cells }) => tests.every((test) => test(cells)));
      const shown = document.createDocumentFragment();
      for (const { row } of matching.slice(0, limit)) shown.append(row);
      const count = shown.childElementCount;
      body.replaceChildren(shown);
      status.textContent = `${grouped(count)} of ${grouped(rows.length)} rows shown`;
      more.hidden = count === matching.length;
      more.textContent = `Show more: ${grouped(matching.length - count)} are left`;
    }
  }

  function grouped(number) {
    return number.toLocaleString("en");
  }

  // Texts by the alphabet, or by the numbers they start with; those without one stay last.
  function sort(rows, column, numeric, ascending) {
    const sign = ascending ? 1 : -1;
    if (!numeric) {
      rows.sort((a, b) => sign * collator.compare(a.cells[column], b.cells[column]));
      return;
    }
    const numbers = new Map(rows.map((entry) => [entry, parseFloat(entry.cells[column])]));
    rows.sort((a, b) => {
      const [left, right] = [numbers.get(a), numbers.get(b)];
      if (isNaN(left) || isNaN(right)) return isNaN(left) - isNaN(right);
      return sign * (left - right);
    });
  }

  // What a row's cells have to fulfil, or null where the control is not set.
  function testOf({ control, columns }) {
    const { value } = control;
    if (!value || (control.type === "checkbox" && !control.checked)) return null;
    if (control.type === "search") {
      const part = value.trim().toLowerCase();
      return (cells) => columns.some((column) => cells[column].toLowerCase().includes(part));
    }
    return (cells) => columns.some((column) => cells[column] === value);
  }
})();
