// Sorts and filters the rows of every table in an element with data-table.
(() => {
  "use strict";
  const collator = new Intl.Collator("en", { numeric: true });

  for (const element of document.querySelectorAll("[data-table]")) enhance(element);

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  function enhance(element) {
    const table = element.querySelector("table");
    const headers = [...table.tHead.rows[0].cells];
    const keys = headers.map((header) => header.dataset.key);
    const rows = [...table.tBodies[0].rows].map((row) => ({
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
        const sorted = document.createDocumentFragment();
        for (const { row } of rows) sorted.append(row);
        table.tBodies[0].append(sorted);
      });
      header.append(button);
    });

    const filter = () => {
      const tests = controls.map(testOf).filter(Boolean);
      let shown = 0;
      for (const { row, cells } of rows) {
        row.hidden = !tests.every((test) => test(cells));
        shown += !row.hidden;
      }
      const [part, all] = [shown, rows.length].map((count) => count.toLocaleString("en"));
      element.querySelector("[role=status]").textContent = `${part} of ${all} rows shown`;
    };
    for (const { control } of controls) control.addEventListener("input", filter);
    for (const hidden of element.querySelectorAll(".filters")) hidden.hidden = false;
    filter();
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
