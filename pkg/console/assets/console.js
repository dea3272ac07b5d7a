// What makes the console's pages live and quick to use. Without it everything works, by
// loading pages anew.
"use strict";

(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- Light and dark: the system's, until somebody chooses.
  const root = document.documentElement;
  const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private window */ } };
  const theme = remembered("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  // ---- Live pages: the main part comes again when it has changed, and is put into
  // place without losing what is chosen, open, typed or scrolled to.
  // A form's own id may be hidden by a field of that name.
  const keyOf = (node) => node.nodeType === 1 ? node.getAttribute("id") || node.dataset.key || "" : "";
  const inUse = (node) => node.hasAttribute("data-keep") &&
    (node.open || node.contains(document.activeElement) || node.matches("input, form.wizard"));

  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || keyOf(from) !== keyOf(to)) {
      from.replaceWith(to);
      return;
    }
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    if (inUse(from)) return;
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
    for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    const tail = from.hasAttribute("data-tail") && from.scrollTop + from.clientHeight > from.scrollHeight - 8;
    const keyed = new Map([...from.childNodes].filter(keyOf).map((n) => [keyOf(n), n]));
    let at = from.firstChild;
    for (const next of [...to.childNodes]) {
      const key = keyOf(next);
      const match = key ? keyed.get(key) : at && !keyOf(at) ? at : null;
      if (!match) {
        from.insertBefore(next, at);
      } else {
        if (match !== at) from.insertBefore(match, at);
        at = match.nextSibling;
        morph(match, next);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    if (tail) from.scrollTop = from.scrollHeight;
  }

  function live() {
    const region = $("[data-live]");
    if (!region) return;
    const events = new EventSource(location.href);
    events.addEventListener("main", (e) => {
      const fresh = document.createElement("template");
      fresh.innerHTML = e.data;
      const to = region.cloneNode(false);
      to.append(fresh.content);
      morph(region, to);
      settle();
    });
    events.addEventListener("gone", () => { events.close(); location.reload(); });
    addEventListener("pagehide", () => events.close());
    addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });
  }

  // ---- Tables.
  function order(table) {
    const head = $("th[aria-sort]", table);
    if (!head) return;
    const column = head.cellIndex, sign = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows];
    const sorted = rows.toSorted((a, b) => sign * value(a).localeCompare(value(b), undefined, { numeric: true }));
    if (sorted.some((row, i) => row !== rows[i])) table.tBodies[0].append(...sorted);
  }

  // ---- Which columns of a table are shown is remembered, by their titles.
  const hiddenOf = (table) => new Set((remembered("hidden-" + table.id) ?? "").split("\n").filter(Boolean));

  function columns(table) {
    const hidden = hiddenOf(table);
    const heads = [...table.tHead.rows[0].cells];
    for (const head of heads) head.hidden = hidden.has(head.textContent);
    for (const row of table.tBodies[0].rows) heads.forEach((head, i) => { row.cells[i].hidden = head.hidden; });
    const list = $(`[data-columns="${table.id}"]`);
    if (!list || list.childElementCount) return;
    for (const head of heads) {
      if (!$("[data-sort]", head)) continue;
      const label = document.createElement("label"), box = document.createElement("input"), title = head.textContent;
      label.className = "tickline";
      box.type = "checkbox";
      box.checked = !hidden.has(title);
      box.addEventListener("change", () => {
        const now = hiddenOf(table);
        if (box.checked) now.delete(title); else now.add(title);
        remember("hidden-" + table.id, [...now].join("\n"));
        columns(document.getElementById(table.id)); // which may be another one now
      });
      label.append(box, title);
      list.append(label);
    }
  }

  function filter(input) {
    const table = document.getElementById(input.dataset.filter);
    if (!table) return;
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
  }

  function chosen(form) {
    const ticks = all("tbody input[name=id]", form), on = ticks.filter((t) => t.checked);
    const bar = $("[data-choose]", form), every = $("[data-all]", form);
    if (!bar) return;
    bar.classList.toggle("on", on.length > 0);
    $("[data-chosen]", bar).textContent = on.length;
    for (const button of all("button", bar)) button.disabled = on.length === 0;
    every.checked = on.length > 0 && on.length === ticks.length;
    every.indeterminate = on.length > 0 && on.length < ticks.length;
    for (const t of ticks) t.closest("tr").classList.toggle("chosen", t.checked);
  }

  // settle does again what the page's state needs after it has changed.
  function settle() {
    for (const table of all("[data-table]")) {
      columns(table);
      order(table);
    }
    for (const input of all("[data-filter]")) filter(input);
    for (const bar of all("[data-choose]")) chosen(bar.closest("form"));
  }

  // ---- Asking before what cannot be undone.
  function ask(title, text, danger) {
    const dialog = $("#ask");
    $("h2", dialog).textContent = title;
    $("p", dialog).textContent = text;
    $("button.danger", dialog).textContent = danger;
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
  }

  document.addEventListener("submit", async (e) => {
    const form = e.target, button = e.submitter;
    const text = button?.dataset.ask ?? form.dataset.ask;
    if (!text || form.dataset.sure) return;
    e.preventDefault();
    const on = all("tbody input[name=id]:checked", form).length;
    const name = button.textContent.trim();
    if (!await ask(on ? `${name} ${on}?` : `${name}?`, text, name)) return;
    form.dataset.sure = "yes";
    form.requestSubmit(button);
    delete form.dataset.sure;
  });

  document.addEventListener("click", async (e) => {
    const target = e.target.closest("[data-sort], [data-copy], [data-theme-switch]");
    for (const open of all("details.drop[open], details.who[open]")) if (!open.contains(e.target)) open.open = false;
    if (!target) return;
    if (target.matches("[data-sort]")) {
      const head = target.closest("th"), was = head.getAttribute("aria-sort");
      for (const other of all("th", head.parentNode)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", was === "ascending" ? "descending" : "ascending");
      order(head.closest("table"));
    } else if (target.matches("[data-copy]")) {
      try { await navigator.clipboard.writeText(target.textContent.trim()); } catch { return; }
      target.classList.add("copied");
      setTimeout(() => target.classList.remove("copied"), 1200);
    } else {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember("theme", root.dataset.theme);
    }
  });

  // A form opens to the left of its button, if there is room.
  document.addEventListener("toggle", (e) => {
    if (!e.target.matches("details.drop[open]")) return;
    const pop = $(".pop", e.target);
    pop.classList.remove("from-left");
    pop.classList.toggle("from-left", pop.getBoundingClientRect().left < $("#main").getBoundingClientRect().left);
  }, true);

  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape") for (const open of all("details.drop[open], details.who[open]")) { open.open = false; $("summary", open).focus(); }
    if (e.key === "/" && !e.target.closest("input, textarea, select")) {
      const find = $("input[type=search]");
      if (find) { e.preventDefault(); find.focus(); }
    }
  });

  document.addEventListener("input", (e) => {
    if (e.target.matches("[data-filter]")) filter(e.target);
    const form = e.target.closest("[data-preview]");
    if (form) preview(form);
  });

  document.addEventListener("change", (e) => {
    const form = e.target.closest("form");
    if (e.target.matches("[data-all]")) for (const tick of all("tbody input[name=id]", form)) if (!tick.closest("tr").hidden) tick.checked = e.target.checked;
    if (form && e.target.matches("input[type=checkbox]")) chosen(form);
  });

  // ---- The launch shows what would do the same elsewhere.
  let last = 0;
  function preview(form) {
    const mine = ++last;
    setTimeout(async () => {
      if (mine !== last) return;
      const answer = await fetch(form.dataset.preview, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!answer.ok || mine !== last) return;
      const open = all("#commands details").map((d) => d.open);
      $("#commands").innerHTML = await answer.text();
      all("#commands details").forEach((d, i) => { if (open.length) d.open = open[i]; });
    }, 200);
  }

  document.addEventListener("DOMContentLoaded", () => {
    settle();
    for (const tail of all("[data-tail]")) tail.scrollTop = tail.scrollHeight;
    for (const form of all("[data-preview]")) preview(form);
    const send = $("[data-send]");
    if (send) send.requestSubmit();
    live();
  });
})();
