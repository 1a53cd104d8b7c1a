"use strict";
// Everything that comes from the agent is put into the page as text, never as HTML.
const every = 3000;
const severities = ["low", "medium", "high", "critical"];
const $ = id => document.getElementById(id);
let state = null, open = new Set();

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children.filter(c => c !== null && c !== undefined && c !== ""));
  return e;
}

const number = n => Math.round(n).toLocaleString("en");
const sum = o => Object.values(o || {}).reduce((a, b) => a + b, 0);
const percent = (a, b) => b ? (100 * a / b).toFixed(a === b || a === 0 ? 0 : 1) + " %" : "–";
const at = t => el("time", {datetime: t, title: t}, new Date(t).toISOString().replace("T", " ").slice(0, 19));
const who = x => [x.namespace, x.workload].filter(Boolean).join("/") || "unknown";

function card(title, value, kind, note) {
  return el("div", {class: "card " + (kind || "")}, el("b", {}, value), title, note ? el("div", {class: "dim"}, note) : null);
}

function list(target, rows, empty) {
  target.replaceChildren(...(rows.length ? rows.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]) : [el("dt", {}, empty)]));
}

// tell changes a live region only when there is something new to read out.
function tell(text, kind) {
  $("status").className = kind;
  if ($("status").textContent !== text) $("status").textContent = text;
}

function drawHead(s) {
  document.title = (s.not_ready ? "! " : "") + "dynwatch " + (s.host || "");
  $("host").textContent = s.host || "";
  if (s.not_ready) tell("Not watching: " + s.not_ready, "bad");
  else tell("Watching by " + (s.sources.join(" and ") || "no source yet"), "ok");
  $("meta").textContent = "version " + s.version + (s.observe ? " · only observing: findings do not alert" : "") + " · as of " + s.now.replace("T", " ").slice(0, 19) + " UTC";
}

function drawCards(s) {
  const grave = s.findings.filter(f => f.severity === "critical").length, lost = s.lost.filter(l => l.unit === "events").reduce((a, l) => a + l.count, 0);
  const clear = (s.transports["http"] || 0) + (s.transports["dax"] || 0) + (s.transports["connect+http"] || 0);
  $("cards").replaceChildren(
    card("findings kept", number(s.findings_of), s.findings_of ? "bad" : "ok", s.findings_of ? number(grave) + " critical" : "nothing wrong was seen"),
    card("sessions", number(sum(s.verdicts)), "", number(s.verdicts.ok || 0) + " ok, " + number(s.verdicts.unverified || 0) + " unverified"),
    card("in cleartext", number(clear), clear ? "bad" : "ok"),
    card("certificates seen", percent(s.certificates.seen, s.certificates.of), s.certificates.seen < s.certificates.of / 2 ? "warn" : "",
      number(s.certificates.seen) + " of " + number(s.certificates.of) + " TLS sessions"),
    card("events lost", number(lost), lost ? "warn" : "ok", "of " + number(s.packets)),
    card("do not alert", number(s.findings_suppressed), "", "excepted, or only observed"));
}

function explain(rule) {
  if (!rule) return [];
  const parts = [el("h3", {}, "What it means"), el("p", {}, rule.summary), el("p", {}, rule.why), el("h3", {}, "What to do"),
    el("ol", {}, ...rule.steps.map(x => el("li", {}, x)))];
  for (const c of rule.snippets || []) parts.push(el("h3", {}, c.for), el("pre", {tabindex: "0"}, c.text));
  return parts;
}

function drawFindings(s) {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), least = severities.indexOf($("severity").value);
  const shown = s.findings.filter(f => severities.indexOf(f.severity) >= least &&
    words.every(w => [f.rule, f.severity, f.message, f.workload, f.namespace, f.endpoint, f.issuer].join(" ").toLowerCase().includes(w)));
  $("findings-count").textContent = s.has_history ? number(shown.length) + " of " + number(s.findings_of) : "";
  const target = $("findings-list"), focused = document.activeElement && document.activeElement.closest("details");
  const focus = focused && target.contains(focused) && document.activeElement.tagName === "SUMMARY" ? focused.dataset.key : null;
  target.replaceChildren(...shown.map((f, i) => {
    const key = f.time + f.rule + f.workload + f.endpoint + i;
    const d = el("details", {"data-key": key},
      el("summary", {}, el("span", {class: "word " + f.severity}, f.severity), " ", at(f.time), " ", el("b", {}, f.rule), " ", f.message),
      el("div", {}, el("p", {}, "Workload: ", who(f), f.endpoint ? " · endpoint: " + f.endpoint : "", f.issuer ? " · issuer: " + f.issuer : ""),
        ...explain(s.rules[f.rule])));
    d.open = open.has(key);
    d.addEventListener("toggle", () => d.open ? open.add(key) : open.delete(key));
    return d;
  }));
  if (!shown.length)
    target.append(el("p", {class: "empty"}, !s.has_history ? "No history is kept: the agent has no state directory." :
      s.findings_of ? "No finding matches." : "No finding. Every session that could be seen was right, or nobody saw its certificate; see below."));
  if (focus) {
    const again = [...target.children].find(d => d.dataset && d.dataset.key === focus);
    if (again) again.firstChild.focus();
  }
}

// issuer of the certificate, or why it is unknown; what a probe was shown is another connection's.
function issuer(e) {
  if (e.issuer || !e.certificate_visibility) return e.issuer || "";
  const c = e.certificate;
  return "not seen: " + e.certificate_visibility + (c ? "; a probe at " + at(c.seen_at) + " was shown " + [c.probe_trust, c.issuer].filter(Boolean).join(", ") : "");
}

function drawInventory(s) {
  $("inventory-count").textContent = s.has_history ? number(s.inventory.length) + " of " + number(s.inventory_of) : "";
  $("inventory").replaceChildren(...s.inventory.map(e => el("tr", {},
    el("td", {}, el("span", {class: e.verdict === "ok" ? "verdict-ok" : e.verdict}, e.verdict)), el("td", {class: "break"}, who(e)), el("td", {class: "break"}, e.endpoint),
    el("td", {}, e.version || e.transport), el("td", {class: "break"}, issuer(e)),
    el("td", {class: "number"}, number(e.sessions)), el("td", {}, at(e.first_seen)), el("td", {}, at(e.last_seen)))));
  if (!s.inventory.length) $("inventory").append(el("tr", {}, el("td", {colspan: "8", class: "empty"}, s.has_history ? "No session was seen so far." : "No history is kept.")));
}

function draw() {
  const s = state;
  drawHead(s);
  drawCards(s);
  drawFindings(s);
  drawInventory(s);
  const rows = o => Object.entries(o || {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  list($("coverage"), [...rows(s.versions).map(([k, n]) => [k === "none" ? "without TLS" : k === "unknown" ? "version not seen" : k, number(n)]),
    ...rows(s.certificate_visibility).map(([k, n]) => ["certificate " + k, number(n)]), ...rows(s.trust).map(([k, n]) => ["chain " + k, number(n)])], "No session was seen so far.");
  list($("loss"), s.lost.map(l => [l.stage + ": " + l.reason.replaceAll("_", " "), number(l.count) + " " + l.unit]), "Nothing.");
}

async function ask() {
  try {
    const r = await fetch("/api/state", {cache: "no-store"});
    if (!r.ok) throw new Error("status " + r.status);
    state = await r.json();
    draw();
  } catch (e) {
    tell("The agent does not answer (" + e.message + "). What is shown is old.", "bad");
  }
}

$("search").addEventListener("input", () => state && drawFindings(state));
$("severity").addEventListener("change", () => state && drawFindings(state));
document.addEventListener("visibilitychange", () => document.hidden || ask());
setInterval(() => document.hidden || ask(), every);
ask();
