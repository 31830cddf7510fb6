// The HTML report's own script: contents, look, tables and values of figures. It fetches nothing and keeps nothing.
(() => {
  "use strict";

  const make = (name, properties = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element) element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const plain = (text) => text.replace(/[\s\u00a0]+/g, " ").trim();

  // Light or dark: as the system has it, until the button is pressed.
  function offerLook(place) {
    const system = matchMedia("(prefers-color-scheme: dark)");
    const button = make("button", { type: "button", className: "look" });
    let chosen = "";
    const isDark = () => (chosen || (system.matches ? "dark" : "light")) === "dark";
    const show = () => {
      document.documentElement.style.colorScheme = chosen;
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    };
    button.addEventListener("click", () => {
      chosen = isDark() ? "light" : "dark";
      show();
    });
    system.addEventListener("change", show);
    show();
    place.prepend(button);
  }

  // Contents: the section that is being read is marked; on narrow screens they begin closed.
  function followContents(contents) {
    const links = [...contents.querySelectorAll("a[href^='#']")];
    const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
    const folded = contents.querySelector("details");
    const narrow = matchMedia("(max-width: 71.99rem)");
    const fold = () => {
      if (folded) folded.open = !narrow.matches || matchMedia("print").matches;
    };
    fold();
    addEventListener("beforeprint", () => {
      if (folded) folded.open = true;
    });
    addEventListener("afterprint", fold);
    narrow.addEventListener("change", fold);
    contents.addEventListener("click", (event) => {
      if (narrow.matches && event.target.closest("a")) folded.open = false;
    });
    let current = null;
    const mark = () => {
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
      const passed = sections.filter((one) => one && one.getBoundingClientRect().top <= innerHeight * 0.3);
      const read = atEnd && scrollY > 0 ? sections.length - 1 : passed.length - 1;
      if (links[read] === current) return;
      current?.removeAttribute("aria-current");
      current = links[read] ?? null;
      current?.setAttribute("aria-current", "true");
      if (current && !narrow.matches) current.scrollIntoView({ block: "nearest", container: "nearest" });
    };
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        mark();
      });
    };
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    mark();
  }

  // What a cell is sorted by: its number where it begins with one, else its words; small print under it does not count.
  const UNKNOWN = ["", "–", "reference", "not estimable"];
  const wordsOf = (cell) =>
    plain([...cell.childNodes].filter((n) => !n.classList?.contains("under")).map((n) => n.textContent).join(""));
  function numberOf(words) {
    const found = /^([<>]?) ?([+-]?\d+(?:\.\d+)?)/.exec(words.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1"));
    if (!found) return null;
    return Number(found[2]) + { "": 0, "<": -1e-9, ">": 1e-9 }[found[1]];
  }
  const isUnknown = (words) => UNKNOWN.includes(words) || words.startsWith("not estimable");
  const collator = new Intl.Collator("en", { numeric: true });

  // One table: groups of rows with a common head (a body each) are filtered and sorted without being torn apart.
  class Sortable {
    constructor(table) {
      this.table = table;
      this.heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
      this.groups = [...table.tBodies].map((body, place) => {
        const head = body.rows[0].cells[0];
        const rows = [...body.rows].map((row, n) => ({
          row,
          place: n,
          cells: [...row.cells].filter((cell) => cell !== head),
          words: plain(row.textContent).toLowerCase(),
          shown: true,
        }));
        return { body, head, rows, place, words: plain(head.textContent).toLowerCase() };
      });
      this.n = this.groups.reduce((sum, group) => sum + group.rows.length, 0);
      this.column = null;
      this.down = false;
      this.buttons = this.heads.map((head, column) => this.addButton(head, column));
    }

    addButton(head, column) {
      const button = make("button", { type: "button" });
      const under = [...head.childNodes].find((node) => node.classList?.contains("under"));
      while (head.firstChild && head.firstChild !== under) button.append(head.firstChild);
      if (!plain(button.textContent)) {
        head.prepend(...button.childNodes);
        return null;
      }
      head.prepend(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = this.column !== column ? [column, false] : this.down ? [null, false] : [column, true];
        [this.column, this.down] = next;
        this.show();
      });
      return button;
    }

    filter(wanted) {
      const parts = plain(wanted.toLowerCase()).replace(/-/g, "\u2212").split(" ").filter(Boolean);
      const holds = (words) => parts.every((part) => words.replace(/-/g, "\u2212").includes(part));
      for (const group of this.groups)
        for (const one of group.rows) one.shown = holds(`${group.words} ${one.words}`);
      this.show();
      return this.groups.reduce((sum, group) => sum + group.rows.filter((one) => one.shown).length, 0);
    }

    // Groups are sorted by their head, or where each shows one row; else rows are sorted within their group.
    show() {
      const shown = new Map(this.groups.map((group) => [group, group.rows.filter((one) => one.shown)]));
      const { column } = this;
      const flat = [...shown.values()].every((rows) => rows.length <= 1);
      let groups = this.groups;
      if (column === 0) groups = this.sorted(groups, (group) => wordsOf(group.head));
      else if (column !== null && flat)
        groups = this.sorted(groups, (group) => (shown.get(group)[0] ? this.cell(shown.get(group)[0], column) : ""));
      for (const group of groups) {
        let rows = shown.get(group);
        if (column !== null && column > 0) rows = this.sorted(rows, (one) => this.cell(one, column));
        group.body.hidden = rows.length === 0;
        group.body.replaceChildren(...rows.map((one) => one.row));
        if (rows.length) {
          rows[0].row.prepend(group.head);
          group.head.rowSpan = rows.length;
        }
        this.table.append(group.body);
      }
      this.heads.forEach((head, place) => {
        if (!this.buttons[place]) return;
        const isChosen = place === column;
        head.setAttribute("aria-sort", isChosen ? (this.down ? "descending" : "ascending") : "none");
      });
    }

    cell(one, column) {
      return one.cells[column - 1] ? wordsOf(one.cells[column - 1]) : "";
    }

    sorted(items, words) {
      const keyed = items.map((item) => ({ item, words: words(item) }));
      const known = keyed.filter((one) => !isUnknown(one.words));
      const unknown = keyed.filter((one) => isUnknown(one.words));
      const byNumber = known.every((one) => numberOf(one.words) !== null);
      const order = byNumber
        ? (a, b) => numberOf(a.words) - numberOf(b.words)
        : (a, b) => collator.compare(a.words, b.words);
      known.sort((a, b) => (this.down ? order(b, a) : order(a, b)));
      return [...known, ...unknown].map((one) => one.item);
    }
  }

  const FEW_ROWS = 8;
  function serveTable(box) {
    const table = box.querySelector("table");
    if (!table?.tHead || table.tBodies.length === 0 || !table.tBodies[0].rows.length) return;
    const sortable = new Sortable(table);
    const name = plain(table.caption?.querySelector("b")?.textContent ?? "table");
    if (sortable.n < FEW_ROWS) return;
    const field = make("input", { type: "search", autocomplete: "off" });
    const said = make("span", { role: "status" });
    field.addEventListener("input", () => {
      const n = sortable.filter(field.value);
      said.textContent = plain(field.value) ? `${n} of ${sortable.n} rows` : "";
    });
    const label = make("label", {}, "Filter rows", make("span", { className: "unseen" }, ` of ${name}`), " ", field);
    box.before(make("div", { className: "tools" }, label, " ", said));
  }

  // A box that scrolls sideways says so, can be reached by keys, and has a name.
  function serveScrolling(boxes) {
    const watch = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const scrolls = target.scrollWidth > target.clientWidth + 1;
        target.classList.toggle("fits", !scrolls);
        target.classList.toggle("wider", scrolls);
        if (scrolls) target.tabIndex = 0;
        else if (!target.querySelector(".values")) target.removeAttribute("tabindex");
      }
    });
    for (const box of boxes) {
      const caption = box.querySelector("caption b") ?? box.closest("figure")?.querySelector("figcaption b");
      if (!box.hasAttribute("role")) box.setAttribute("role", "group");
      if (!box.hasAttribute("aria-label")) box.setAttribute("aria-label", caption ? plain(caption.textContent) : "Scrolls");
      watch.observe(box);
    }
  }

  // Figures: the value of the point nearest to the pointer, or of the next one by arrow keys.
  const NEAR = 16;
  const SAME = 3;
  function serveFigures(arts) {
    const bubble = make("div", { className: "bubble", hidden: true, "aria-hidden": "true" });
    const said = make("div", { className: "unseen", role: "status" });
    document.body.append(bubble, said);
    let marked = [];
    const hide = () => {
      bubble.hidden = true;
      said.textContent = "";
      for (const one of marked) one.circle.classList.remove("told");
      marked = [];
    };
    const tell = (points) => {
      hide();
      marked = points;
      bubble.textContent = points.map((one) => one.words).join("\n");
      for (const one of points) one.circle.classList.add("told");
      bubble.hidden = false;
      const at = points[0].circle.getBoundingClientRect();
      const { width, height } = bubble.getBoundingClientRect();
      const left = Math.min(Math.max(8, at.x + at.width / 2 - width / 2), document.documentElement.clientWidth - width - 8);
      bubble.style.left = `${left}px`;
      bubble.style.top = `${at.top - height - 8 > 0 ? at.top - height - 8 : at.bottom + 8}px`;
    };
    addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
    });
    addEventListener("scroll", hide, { passive: true, capture: true });
    for (const art of arts) serveFigure(art, tell, hide, said);
  }

  function serveFigure(art, tell, hide, said) {
    const svg = art.querySelector("svg");
    const points = [...art.querySelectorAll(".values circle")].map((circle) => {
      const title = circle.querySelector("title");
      const words = title.textContent;
      title.remove();
      return { circle, words, x: circle.cx.baseVal.value, y: circle.cy.baseVal.value };
    });
    if (!points.length) return;
    const caption = art.closest("figure")?.querySelector("figcaption b");
    art.tabIndex = 0;
    art.setAttribute("role", "group");
    art.setAttribute(
      "aria-label",
      `${caption ? plain(caption.textContent) : "Figure"} Arrow keys go from value to value: ${points.length} in all.`,
    );
    const nearest = (event) => {
      const matrix = svg.getScreenCTM();
      if (!matrix) return [];
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const far = (one) => Math.hypot(one.x - at.x, one.y - at.y) * matrix.a;
      const best = points.reduce((a, b) => (far(b) < far(a) ? b : a));
      if (far(best) > NEAR) return [];
      return [best, ...points.filter((one) => one !== best && Math.hypot(one.x - best.x, one.y - best.y) * matrix.a < SAME)];
    };
    const point = (event) => {
      const found = nearest(event);
      if (found.length) tell(found.slice(0, 4));
      else hide();
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide();
    });
    let place = -1;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    art.addEventListener("keydown", (event) => {
      const { key } = event;
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (key in steps) place = Math.min(Math.max(place + steps[key], 0), points.length - 1);
      else if (key === "Home") place = 0;
      else if (key === "End") place = points.length - 1;
      else return;
      event.preventDefault();
      points[place].circle.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
      requestAnimationFrame(() => {
        tell([points[place]]);
        said.textContent = points[place].words;
      });
    });
    art.addEventListener("blur", hide);
  }

  const contents = document.querySelector("nav.contents");
  if (contents) {
    offerLook(contents);
    followContents(contents);
  }
  document.querySelectorAll(".scroll").forEach(serveTable);
  serveFigures(document.querySelectorAll(".art"));
  serveScrolling(document.querySelectorAll(".scroll, .art"));
})();
