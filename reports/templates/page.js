"use strict";
(() => {
  const data = JSON.parse(document.getElementById("island").textContent);
  const list = document.getElementById("cell-list");
  const sections = [...list.querySelectorAll("details.cell")];
  const query = document.getElementById("query");
  const sort = document.getElementById("sort");
  const tbody = document.getElementById("case-rows");
  const more = document.getElementById("more-cases");
  const prepared = tbody ? [...tbody.children] : [];
  const DTYPES = { fp32: "float32", fp16: "float16", bf16: "bfloat16" };
  const CELL_NAMES = ["layer", "case", "device", "dtype"];
  const CHECK_NAMES = ["stage", "quantity", "verdict", "margin", "finding"];
  const STEP = 100;
  const FAR = 9999;
  const marginNumber = (margin) => (typeof margin === "number" ? margin : margin === "exact" || margin === "kept" ? FAR : -FAR);
  const marginText = (margin) => (typeof margin === "number" ? (margin < 0 ? "−" : "+") + Math.abs(margin).toFixed(1) : margin);

  /* One config for each case, [id, layer, value, ...], in the order that rows refer to. */
  const configs = data.configs.flatMap((flat, layer) => {
    const each = data.layers[layer].length + 1;
    return Array.from({ length: flat.length / each }, (_, at) => [flat[at * each], layer, ...flat.slice(at * each + 1, at * each + each)]);
  });

  /* One row for each case on a device, [config, cell, quantity, margin, fails], worst first. */
  const rows = data.rows.flatMap(([cell, quantity, fails, ...pairs]) =>
    pairs.flatMap((config, at) => (at % 2 ? [] : [[config, cell, quantity, pairs[at + 1], fails]])));
  rows.sort((a, b) => b[4] - a[4] || marginNumber(a[3]) - marginNumber(b[3]) || a[0] - b[0] || a[1] - b[1]);
  let placed = "";
  let matches = [];
  let shown = 0;

  /* Which features a name stands for: K of one layer is in_features, N of another its number of rows. */
  const named = new Map();
  data.features.forEach(([name, , short], index) => {
    for (const key of short ? [name, short] : [name]) named.set(key, [...(named.get(key) || []), index]);
  });

  function input(config, feature) {
    const at = data.layers[config[1]].indexOf(feature);
    const value = at < 0 ? null : config[at + 2];
    return value !== null && data.features[feature][3] ? data.levels[value] : value;
  }

  /* One term: [-]name:[operator]value, or a plain word. Unknown names are words, so nothing is silently ignored. */
  function parse(text) {
    return (text.toLowerCase().match(/\S+/g) || []).map((raw) => {
      const [, not, name, operator, value] = /^(-?)(?:([a-z_0-9]+):)?(>=|<=|>|<|=)?(.*)$/.exec(raw);
      const known = name && (CELL_NAMES.includes(name) || CHECK_NAMES.includes(name) || name === "id" || named.has(name));
      if (!known) return { not: not === "-", word: raw.slice(not.length) };
      return { not: not === "-", name, operator, value: name === "dtype" && DTYPES[value] || value };
    });
  }

  function compare(term, actual) {
    if (actual === null || actual === undefined) return false;
    const wanted = Number(term.value.replace("−", "-"));
    if (term.operator || (typeof actual === "number" && term.value !== "")) {
      const number = Number(actual);
      switch (term.operator) {
        case ">": return number > wanted;
        case "<": return number < wanted;
        case ">=": return number >= wanted;
        case "<=": return number <= wanted;
        default: return number === wanted;
      }
    }
    return String(actual).toLowerCase().includes(term.value);
  }

  const holds = (term, test) => test(term) !== term.not;

  function checkValue(check, name) {
    const [stage, quantity] = data.quantities[check[0]];
    return { stage, quantity, verdict: check[1], margin: check[2], finding: check[3] || "" }[name];
  }

  function cellHolds(cell, terms) {
    const own = terms.filter((term) => CELL_NAMES.includes(term.name));
    const checks = terms.filter((term) => CHECK_NAMES.includes(term.name));
    const words = terms.filter((term) => term.word !== undefined);
    const about = CELL_NAMES.map((name) => cell[name]).concat(cell.checks.flatMap((check) => data.quantities[check[0]].slice(0, 2)));
    const haystack = about.join(" ").toLowerCase();
    if (!own.every((term) => holds(term, () => compare(term, cell[term.name])))) return false;
    if (!words.every((term) => holds(term, () => haystack.includes(term.word)))) return false;
    const inChecks = checks.some((term) => ["stage", "quantity", "finding"].includes(term.name));
    if (!inChecks) return checks.every((term) => holds(term, () => exactly(term, cell[term.name])));
    return cell.checks.some((check) => checks.every((term) => holds(term, () => exactly(term, checkValue(check, term.name)))));
  }

  const exactly = (term, actual) => (term.name === "verdict" ? actual === term.value : compare(term, actual));

  function caseHolds(row, terms) {
    const config = configs[row[0]];
    const cell = data.cells[row[1]];
    const [stage, quantity] = data.quantities[row[2]];
    const check = row[4] && cell.checks.find((one) => one[0] === row[2]);
    const own = { stage, quantity, verdict: row[4] ? "fail" : "pass", margin: marginNumber(row[3]), id: config[0], finding: check ? check[3] || "" : "" };
    return terms.every((term) => holds(term, () => {
      if (term.word !== undefined) {
        return [...CELL_NAMES.map((name) => cell[name]), stage, quantity, config[0]].join(" ").toLowerCase().includes(term.word);
      }
      if (CELL_NAMES.includes(term.name)) return compare(term, cell[term.name]);
      if (term.name in own) return exactly(term, own[term.name]);
      return named.get(term.name).some((feature) => compare(term, input(config, feature)));
    }));
  }

  function element(name, text, attributes) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  }

  function link(text, href, inner) {
    const made = element("a", inner ? undefined : text, { href });
    if (inner) made.append(element(inner, text));
    return made;
  }

  function caseRow(row) {
    const config = configs[row[0]];
    const cell = data.cells[row[1]];
    const made = element("tr");
    const verdict = element("td");
    const badge = element("b", row[4] ? "✗ fail" : "✓ pass", { class: "verdict " + (row[4] ? "fail" : "pass") });
    verdict.append(badge);
    const id = element("th", undefined, { scope: "row" });
    id.append(link(config[0], "#case=" + config[0], "code"));
    const place = element("td");
    place.append(link(`${cell.case} ${cell.device} ${cell.short}`, "#" + cell.anchor));
    const inputs = element("td");
    inputs.append(data.layers[config[1]].filter((feature) => input(config, feature) !== null)
      .map((feature) => `${data.features[feature][1]} ${input(config, feature)}`).join(", "));
    inputs.append(element("br"), command(data.replay + config[0]));
    made.append(verdict, element("td", marginText(row[3]), { class: "number" }), id, place, element("td", data.quantities[row[2]][2]), inputs);
    return made;
  }

  function command(text) {
    const code = element("code", text, { class: "command" });
    const both = document.createDocumentFragment();
    both.append(code, copier(code));
    return both;
  }

  function copier(code) {
    const button = element("button", "Copy", { type: "button", class: "copy", "aria-label": code.className === "program" ? "Copy the script" : "Copy the command" });
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
    });
    return button;
  }

  function showCases(filtered) {
    if (!tbody) return;
    if (!filtered) {
      tbody.replaceChildren(...prepared);
    } else {
      tbody.replaceChildren(...matches.slice(0, shown).map(caseRow));
    }
    const total = filtered ? matches.length : rows.length;
    const now = filtered ? Math.min(shown, total) : prepared.length;
    document.getElementById("cases-shown").textContent = total ? `${now} of ${total}, worst first` : "no case fits the search";
    more.hidden = now >= total;
  }

  const ORDERS = {
    "": (a, b) => a - b,
    name: (a, b) => order(data.cells[a].case, data.cells[b].case) || a - b,
    device: (a, b) => order(data.cells[a].device, data.cells[b].device) || a - b,
    margin: (a, b) => data.cells[b].margin - data.cells[a].margin || a - b,
  };
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

  function apply() {
    const terms = parse(query.value);
    const onlyCases = terms.some((term) => term.name && !CELL_NAMES.includes(term.name) && !CHECK_NAMES.includes(term.name));
    matches = terms.length ? rows.filter((row) => caseHolds(row, terms)) : [];
    shown = STEP;
    const withCase = new Set(matches.map((row) => row[1]));
    const cellTerms = terms.filter((term) => !term.name || CELL_NAMES.includes(term.name) || CHECK_NAMES.includes(term.name));
    let visible = 0;
    for (const section of sections) {
      const index = Number(section.dataset.index);
      const inCases = withCase.has(index);
      const keep = onlyCases ? inCases : cellHolds(data.cells[index], cellTerms) || (terms.some((term) => term.word) && inCases);
      section.hidden = !keep;
      visible += keep;
    }
    if (sort.value !== placed) { /* moving hundreds of sections to where they are costs more than all the rest */
      placed = sort.value;
      list.append(...[...sections].sort((a, b) => ORDERS[placed](Number(a.dataset.index), Number(b.dataset.index))));
    }
    const cases = terms.length ? `, ${matches.length} cases` : "";
    document.getElementById("found").textContent = `${visible} of ${sections.length} cells${cases}`;
    showCases(terms.length > 0);
  }

  /* The address keeps what is shown: #cell=… or #case=…, then &q=… and &sort=…. */
  function read() {
    const state = {};
    for (const part of location.hash.slice(1).split("&")) {
      const at = part.indexOf("=");
      if (at > 0) state[part.slice(0, at)] = part.slice(at + 1);
    }
    return state;
  }

  function write() {
    const place = location.hash.slice(1).split("&").filter((part) => /^(cell|case)=/.test(part));
    if (query.value) place.push("q=" + encodeURIComponent(query.value));
    if (sort.value) place.push("sort=" + sort.value);
    history.replaceState(null, "", place.length ? "#" + place.join("&") : location.pathname + location.search);
  }

  function follow() {
    const state = read();
    if (state.q !== undefined || state.sort !== undefined) {
      query.value = decoded(state.q || "");
      sort.value = state.sort in ORDERS ? state.sort : "";
      apply();
    }
    const place = state.cell !== undefined ? "cell=" + state.cell : state.case !== undefined ? "case=" + state.case : "";
    if (!place) return;
    const target = document.getElementById(place) || document.getElementById(decoded(place));
    for (const row of document.querySelectorAll(".target")) row.classList.remove("target");
    if (target) {
      const line = target.matches("tr, li");
      target.classList.toggle("target", line);
      const section = target.closest("details");
      if (section) {
        section.hidden = false;
        section.open = true;
        section.querySelector("summary").focus({ preventScroll: true });
        (line ? target : section).scrollIntoView({ block: "start" });
      } else {
        target.scrollIntoView({ block: "center" });
      }
    } else if (state.case !== undefined) {
      query.value = "id:" + decoded(state.case);
      apply();
      document.getElementById("cases").scrollIntoView();
    }
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function step(by) {
    const visible = [...list.querySelectorAll("details.cell:not([hidden])")];
    const at = visible.findIndex((section) => section.contains(document.activeElement));
    const next = visible[Math.max(0, Math.min(visible.length - 1, at < 0 ? 0 : at + by))];
    if (next) next.querySelector("summary").focus();
  }

  document.getElementById("find").hidden = false;
  document.getElementById("find").addEventListener("submit", (event) => event.preventDefault());
  for (const code of document.querySelectorAll("code.command, code.program")) code.after(copier(code));
  query.addEventListener("input", () => { apply(); write(); });
  sort.addEventListener("change", () => { apply(); write(); });
  if (more) {
    more.addEventListener("click", () => {
      if (!matches.length) matches = rows;
      shown = Math.max(shown, tbody.children.length) + STEP;
      showCases(true);
    });
  }
  document.getElementById("toggle").addEventListener("click", (event) => {
    const opening = sections.some((section) => !section.hidden && !section.open);
    for (const section of sections) if (!section.hidden) section.open = opening;
    event.target.textContent = opening ? "Close all" : "Open all";
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && event.target === query) {
      query.value = "";
      apply();
      write();
      query.blur();
    } else if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (event.key === "/") { event.preventDefault(); query.focus(); query.select(); }
      if (event.key === "j") step(1);
      if (event.key === "k") step(-1);
    }
  });
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = sections.filter((section) => !section.open);
    for (const section of opened) section.open = true;
  });
  addEventListener("afterprint", () => { for (const section of opened) section.open = false; });
  addEventListener("hashchange", follow);
  apply();
  follow();
})();
