// The console: asks the API every two seconds and shows what it says. Data reaches the page as text only.
import { cellBars, histogram, lineChart, percent, sparkline } from "/chart.js";

const EVERY_MS = 2000;
const HEALTHY = [0.1, 0.25];
const $ = (id) => document.getElementById(id);
const chosen = { model: null, window: null, version: null, segment: "", feature: null };

function el(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Sets text only where it has changed, so that a selection in the page survives.
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makes the children of a node those of the items, keeping the ones that are there already, and with them the focus.
function keep(parent, items, key, make, fill) {
  const held = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let node = held.get(name);
    if (!node) { node = make(item); node.dataset.key = name; }
    held.delete(name);
    fill(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of held.values()) node.remove();
}

const whole = new Intl.NumberFormat("en");
const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(1);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.1 || size === 0 ? value.toFixed(2) : value.toFixed(size >= 0.01 ? 3 : 4);
}
const chance = (value) => (value === null || value === undefined ? "–" : value < 1e-4 ? "<0.0001" : value > 0.995 ? "1" : number(value));
const instant = (text) => (text ? `${text.slice(0, 10)} ${text.slice(11, 16)}` : "–");
const clock = (text) => (text ? text.slice(11, 16) : "");
function lasting(seconds) {
  if (!(seconds >= 0)) return "–";
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const found = parts.findIndex(([size]) => seconds >= size);
  const first = found < 0 ? parts.length - 1 : found;
  return parts.slice(first, first + 2).map(([size, unit], index) => `${Math.floor(index ? (seconds % parts[first][0]) / size : seconds / size)}${unit}`).join(" ");
}

async function ask(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  const text = await response.text();
  if (!response.ok) {
    let reason = `${response.status} ${response.statusText}`;
    try { reason = JSON.parse(text).error ?? reason; } catch { /* not JSON: the status says it */ }
    throw new Error(reason);
  }
  return text;
}
const data = async (path) => JSON.parse(await ask(path)).data;
const lines = async (path) => (await ask(path)).split("\n").filter(Boolean).map((line) => JSON.parse(line));

function query(extra) {
  const parameters = new URLSearchParams({ model: chosen.model, window: chosen.window, ...extra });
  return parameters.toString();
}

const segmentText = (segment) => (segment ? Object.entries(segment).map(([key, value]) => `${key}=${value}`).join(",") : "");
const thresholdsOf = (model) => (model?.psi_thresholds?.length === 2 ? model.psi_thresholds : HEALTHY);

function levelOf(metric, thresholds) {
  if (!metric) return ["none", "not measured"];
  if (metric.status !== "ok" || metric.value === null) return ["unsure", metric.status === "ok" ? "no value" : metric.status.replace("_", " ")];
  if (metric.value >= thresholds[1]) return ["high", "high"];
  return metric.value >= thresholds[0] ? ["moderate", "moderate"] : ["good", "stable"];
}

function chip(node, level, text, title) {
  node.className = `chip ${level}`;
  put(node, text);
  node.title = title ?? "";
}

function showStatus(status) {
  put($("agent-version"), status.version ? `v${status.version}` : "");
  chip($("ready"), status.ready ? "good" : "moderate", status.ready ? "ready" : `not ready: ${status.not_ready.join(", ")}`, status.checks.map((check) => `${check.ok ? "✓" : "✗"} ${check.name}: ${check.detail}`).join("\n"));
  put($("event-time"), status.event_time ? `${instant(status.event_time)} UTC` : "–");
  put($("rate"), count(Math.round(status.records_per_second)));
  const lags = status.partitions.map((partition) => partition.consumer_lag).filter((lag) => lag !== null);
  put($("lag"), lags.length ? count(lags.reduce((sum, lag) => sum + lag, 0)) : "–");
  put($("uptime"), lasting(status.uptime_seconds));
  showAccounting(status);
}

const KINDS = ["counted", "waiting", "late", "duplicate", "unmatched_label", "rejected", "shed"];
function showAccounting(status) {
  const parts = KINDS.map((kind) => [kind, kind === "waiting" ? status.waiting : (status.outcomes[kind] ?? 0)]);
  const sum = parts.reduce((total, [, value]) => total + value, 0);
  const shown = parts.filter(([kind, value]) => value > 0 || kind === "counted");
  put($("data-note"), status.memory_bytes ? `${(status.memory_bytes / 1048576).toFixed(0)} MiB of memory` : "");
  const balance = sum === status.received ? "" : ` (does not add up: ${count(sum)})`;
  put($("accounting"), status.received === 0 ? "No event has come yet." : `${count(status.received)} received = ${shown.map(([kind, value]) => `${count(value)} ${kind.replace("_", " ")}`).join(" + ")}${balance}`);
  $("accounting").classList.toggle("wrong", balance !== "");
  $("outcomes").hidden = status.received === 0;
  $("outcomes").setAttribute("aria-label", $("accounting").textContent);
  keep($("outcomes"), shown, ([kind]) => kind, ([kind]) => el("i", { class: kind }), (node, [, value]) => { node.style.flexGrow = String(Math.max(value / Math.max(sum, 1), value > 0 ? 0.004 : 0)); });
  keep($("outcome-legend"), shown, ([kind]) => kind, ([kind]) => el("li", {}, el("i", { class: `swatch ${kind}` }), el("span", {})), (node, [kind, value]) => put(node.lastElementChild, `${kind.replace("_", " ")} ${sum ? percent(value / sum) : ""}`));
  $("outcome-legend").hidden = status.received === 0;
  const lagOf = (topic) => {
    const own = status.partitions.filter((partition) => partition.topic === topic);
    const lags = own.map((partition) => partition.consumer_lag).filter((lag) => lag !== null);
    const marks = own.map((partition) => partition.watermark).filter(Boolean).sort();
    return [lags.length ? count(lags.reduce((total, lag) => total + lag, 0)) : "–", marks.length ? `${instant(marks[0])}` : "–"];
  };
  $("topics").hidden = status.topics.length === 0;
  keep($("topics").tBodies[0], status.topics, (topic) => topic.topic, () => el("tr", {}, el("th", { scope: "row" }), el("td", {}), ...[1, 2, 3, 4].map(() => el("td", { class: "number" })), el("td", {})), (row, topic) => {
    const [lag, mark] = lagOf(topic.topic);
    [topic.topic, topic.role, count(topic.received), count(topic.outcomes.rejected ?? 0), count(topic.waiting), lag, mark].forEach((text, index) => put(row.children[index], text));
  });
  const rejects = Object.entries(status.rejected).filter(([, value]) => value > 0).map(([reason, value]) => `${reason.replaceAll("_", " ")} ${count(value)}`);
  const notes = [[status.unknown_feature, "values of unknown features"], [status.timestamp_fallback, "events took the record's time"], [status.nonstandard_json, "events with NaN or Infinity"]].filter(([value]) => value > 0).map(([value, text]) => `${count(value)} ${text}`);
  put($("rejects"), [rejects.length ? `Rejected: ${rejects.join(", ")}.` : "", notes.length ? `${notes.join("; ")}.` : ""].join(" ").trim());
}

function showModels(models, alerts, status) {
  $("models-empty").hidden = models.length > 0;
  put($("models-empty"), "No model yet. The models of the configuration appear here as soon as their baselines are loaded.");
  if (!models.some((model) => model.name === chosen.model)) { chosen.model = models[0]?.name ?? null; chosen.window = null; chosen.feature = null; }
  const make = (model) => el("button", { type: "button", class: "card", "data-model": model.name, onclick: () => { chosen.model = model.name; chosen.window = null; chosen.version = null; chosen.segment = ""; chosen.feature = null; refresh(); } },
    el("span", { class: "card-head" }, el("strong", {}), el("span", { class: "chip" })), el("span", { class: "muted" }), el("dl", { class: "facts" }, ...["Last window", "n", "Features"].map((name) => el("div", {}, el("dt", {}, name), el("dd", {})))));
  keep($("models"), models, (model) => model.name, make, (node, model) => {
    node.setAttribute("aria-pressed", String(model.name === chosen.model));
    const own = alerts.filter((alert) => alert.labels.model === model.name && alert.state === "firing");
    const worst = own.some((alert) => alert.severity === "critical") ? "high" : own.length ? "moderate" : "good";
    const windows = Object.values(model.latest).filter(Boolean);
    const newest = model.latest[model.windows[0]?.name] ?? windows[0];
    put(node.querySelector("strong"), model.name);
    chip(node.querySelector(".chip"), newest || own.length ? worst : "none", own.length ? `${own.length} firing` : newest ? "no alert" : "waiting");
    const versions = model.versions.filter(Boolean);
    put(node.children[1], [model.task, versions.length ? `version ${versions.slice(-3).join(", ")}${versions.length > 3 ? ` of ${versions.length}` : ""}` : "", model.baselines[0] ? `baseline ${count(model.baselines[0].rows)} rows` : ""].filter(Boolean).join(" · "));
    const facts = node.querySelectorAll("dd");
    put(facts[0], newest ? `${newest.window.name} to ${instant(newest.window.end).slice(5)}` : "none closed yet");
    put(facts[1], count(newest?.n));
    put(facts[2], count(model.features.length));
  });
  return models.find((model) => model.name === chosen.model);
}

function options(select, values, current, name) {
  keep(select, values, (value) => value, (value) => el("option", { value }), (node, value) => put(node, name(value)));
  if (select.value !== current) select.value = current;
}

function showFilters(model, features) {
  const names = [...new Set([...model.windows.map((window) => window.name), ...Object.keys(model.latest)])];
  const latest = model.latest[chosen.window];
  $("filters").hidden = names.length === 0;
  options($("window"), names, chosen.window, (name) => name);
  const versions = [...new Set([...model.versions, ...features.map((feature) => feature.version)])];
  if (!versions.includes(chosen.version)) chosen.version = versions.at(-1) ?? "";
  options($("version"), versions, chosen.version, (version) => version || "(none)");
  $("version").parentElement.hidden = versions.length < 2;
  const segments = ["", ...new Set(features.filter((feature) => feature.segment).map((feature) => segmentText(feature.segment)))];
  if (!segments.includes(chosen.segment)) chosen.segment = "";
  options($("segment"), segments, chosen.segment, (segment) => segment || "all");
  $("segment").parentElement.hidden = segments.length < 2;
  put($("window-span"), latest ? `${instant(latest.window.start)} to ${instant(latest.window.end)} UTC, ${count(latest.n)} events${latest.late ? `, ${count(latest.late)} late` : ""}` : "");
  $("window-complete").hidden = !latest || latest.complete;
  if (latest && !latest.complete) chip($("window-complete"), "moderate", `incomplete: ${latest.partitions} partitions${latest.gaps.length ? `, ${latest.gaps.join(", ")}` : ""}`);
}

function showFeatures(model, features, alerts, status) {
  const thresholds = thresholdsOf(model);
  const table = $("features");
  table.hidden = features.length === 0;
  $("features-empty").hidden = features.length > 0;
  const wait = status.ready ? "its end plus the allowed lateness has to pass in event time" : `the agent is not ready (${status.not_ready.join(", ")})`;
  put($("features-empty"), `Waiting for the first ${chosen.window ?? ""} window to close: ${wait}. ${count(status.received)} events received so far.`);
  const drifted = features.filter((feature) => (feature.score ?? 0) >= thresholds[0]).length;
  put($("features-note"), features.length ? `${drifted} of ${features.length} at ${thresholds[0]} or above` : "");
  const firing = new Set(alerts.filter((alert) => alert.state === "firing" && alert.labels.model === model.name).map((alert) => alert.labels.feature).filter(Boolean));
  const make = (feature) => el("tr", { "data-subject": feature.subject },
    el("th", { scope: "row" }, el("button", { type: "button", class: "link", onclick: () => { chosen.feature = feature.subject; reveal = true; refresh(); } }, feature.name), el("span", { class: "muted kind" })),
    el("td", { class: "number strong", "data-feature": feature.name, "data-metric": "psi" }),
    el("td", { class: "course" }),
    el("td", { class: "number", "data-feature": feature.name, "data-metric": "p_adjusted" }),
    el("td", { class: "number", "data-feature": feature.name, "data-metric": "null_rate" }),
    el("td", { class: "number", "data-feature": feature.name, "data-metric": "n" }),
    el("td", {}, el("span", { class: "chip", "data-feature": feature.name, "data-metric": "status" }), el("span", { class: "chip high", hidden: true }, "alert")));
  keep(table.tBodies[0], features, (feature) => `${feature.version}/${segmentText(feature.segment)}/${feature.subject}`, make, (row, feature) => {
    const psi = feature.metrics.psi ?? Object.values(feature.metrics)[0];
    const [level, text] = levelOf(feature.metrics.psi, thresholds);
    const cells = row.children;
    row.classList.toggle("chosen", feature.subject === chosen.feature);
    cells[0].firstElementChild.setAttribute("aria-pressed", String(feature.subject === chosen.feature));
    put(cells[0].lastElementChild, feature.type ?? (feature.subject.startsWith("feature:") ? "" : "output"));
    put(cells[1], number(feature.metrics.psi?.value));
    const values = (feature.series.psi ?? []).map((point) => point[1]);
    const drawn = JSON.stringify([values, level]);
    if (cells[2].dataset.drawn !== drawn) {
      cells[2].dataset.drawn = drawn;
      cells[2].replaceChildren(sparkline(values, thresholds, level, `PSI of ${feature.name} over ${values.length} windows, now ${number(feature.metrics.psi?.value)}`));
    }
    put(cells[3], chance(psi?.p_adjusted));
    put(cells[4], feature.metrics.null_rate?.value == null ? "–" : percent(feature.metrics.null_rate.value));
    put(cells[5], count(psi?.n));
    chip(cells[6].firstElementChild, level, text, feature.metrics.psi?.reason ?? "");
    cells[6].lastElementChild.hidden = !firing.has(feature.name);
  });
}

// On a narrow screen the detail lies far below the table: a click brings it into view.
let reveal = false;
function showDetail(feature) {
  $("detail").hidden = !feature;
  if (!feature) return;
  put($("detail-title"), feature.name);
  put($("detail-note"), `${feature.type ?? "output"}, ${feature.window.name} to ${instant(feature.window.end)}`);
  const drawn = JSON.stringify([feature.subject, feature.histogram ?? null]);
  const place = $("detail-histogram");
  if (place.dataset.drawn !== drawn) {
    place.dataset.drawn = drawn;
    place.replaceChildren(feature.histogram?.labels.length
      ? histogram(feature.histogram, `Distribution of ${feature.name}: baseline and this window over ${feature.histogram.labels.length} bins`)
      : el("p", { class: "empty" }, "No distribution: segments are shown by their scores, and the last window may have had no values."));
  }
  const why = feature.explanation;
  $("detail-explanation").hidden = !why;
  $("detail-explanation").dataset.feature = feature.name;
  put($("detail-explanation"), why?.sentence ?? "");
  const moved = $("detail-cells");
  moved.hidden = !why?.cells?.length;
  const shown = JSON.stringify(why?.cells ?? null);
  if (moved.dataset.drawn !== shown) {
    moved.dataset.drawn = shown;
    moved.replaceChildren(...(why?.cells?.length ? [cellBars(why.cells, `The cells that moved: ${why.cells.map((cell) => `${cell.cell} from ${percent(cell.reference)} to ${percent(cell.current)}`).join("; ")}`)] : []));
  }
  const rows = Object.entries(feature.metrics);
  keep($("detail-metrics").tBodies[0], rows, ([name]) => `${feature.subject}/${name}`, ([name]) => el("tr", {}, el("th", { scope: "row" }), ...[1, 2, 3].map(() => el("td", { class: "number" })), el("td", {}, el("span", { class: "chip" }))), (row, [name, metric]) => {
    [name.replaceAll("_", " "), number(metric.value), chance(metric.p_value), chance(metric.p_adjusted)].forEach((text, index) => put(row.children[index], text));
    row.title = `${metric.recipe}\nn ${count(metric.n)}, baseline ${count(metric.n_reference)}`;
    chip(row.querySelector(".chip"), metric.status === "ok" ? "good" : "unsure", metric.status.replace("_", " "), metric.reason ?? "");
  });
  const box = $("detail").getBoundingClientRect();
  if (reveal && (box.top < 0 || box.top > window.innerHeight * 0.8)) $("detail").scrollIntoView({ block: "start" });
  reveal = false;
}

function showPerformance(model, measured, summaries) {
  const byMetric = new Map();
  for (const line of measured) {
    if (line.version !== chosen.version || segmentText(line.segment) !== chosen.segment) continue;
    if (!byMetric.has(line.metric)) byMetric.set(line.metric, new Map());
    byMetric.get(line.metric).set(line.window.end, line.status === "ok" ? line.value : null);
  }
  const charts = [];
  const baseline = (model.baselines.find((own) => own.version === chosen.version) ?? model.baselines.find((own) => own.version === null))?.performance ?? {};
  for (const [metric, values] of byMetric) {
    const ends = [...values.keys()].slice(-60);
    const course = ends.map((end) => values.get(end));
    if (course.some((value) => value !== null)) charts.push({ name: metric, course, ends, reference: baseline[metric], format: number });
  }
  const covered = summaries.filter((line) => line.labels).slice(-60);
  if (covered.length && (charts.length || covered.some((line) => line.labels.matched > 0))) {
    charts.push({ name: "label coverage", course: covered.map((line) => (line.n ? line.labels.coverage : null)), ends: covered.map((line) => line.window.end), format: percent, range: [0, 1], kind: "coverage" });
  }
  $("performance-empty").hidden = charts.length > 0;
  put($("performance-empty"), model.labels ? "Waiting for labels: performance is measured once enough predictions of a window have found theirs." : "This model joins no labels, so its performance cannot be measured. Set labels.horizon to join them.");
  put($("performance-note"), charts.length ? "by the prediction's time; dashed: baseline" : "");
  keep($("performance"), charts, (chart) => chart.name, (chart) => el("figure", {}, el("figcaption", {}, el("span", {}), el("strong", { "data-metric": chart.name })), el("div", {})), (node, chart) => {
    const last = chart.course.findLast((value) => value !== null);
    put(node.querySelector("span"), chart.name.replaceAll("_", " "));
    put(node.querySelector("strong"), chart.format(last ?? null));
    const drawn = JSON.stringify([chart.course, chart.reference ?? null]);
    if (node.dataset.drawn === drawn) return;
    node.dataset.drawn = drawn;
    node.lastElementChild.replaceChildren(lineChart(chart.course, { ...chart, names: chart.ends.map(instant), label: `${chart.name} over ${chart.course.length} windows, now ${chart.format(last ?? null)}` }));
  });
}

const ORDER = { firing: 0, recovering: 1, pending: 2, resolved: 3, inactive: 4 };
function showAlerts(alerts) {
  const shown = alerts.filter((alert) => alert.phase !== "inactive").sort((a, b) => ORDER[a.phase] - ORDER[b.phase] || (a.severity === "critical" ? 0 : 1) - (b.severity === "critical" ? 0 : 1) || (b.startsAt ?? b.activeAt ?? "").localeCompare(a.startsAt ?? a.activeAt ?? "")).slice(0, 50);
  const firing = alerts.filter((alert) => alert.state === "firing").length;
  put($("alerts-note"), firing ? `${firing} firing` : "");
  document.title = firing ? `(${firing}) driftline` : "driftline";
  $("alerts-empty").hidden = shown.length > 0;
  put($("alerts-empty"), "Nothing is pending or firing.");
  const make = () => el("li", {}, el("div", { class: "alert-head" }, el("strong", {}), el("span", { class: "chip" })), el("p", {}), el("p", { class: "muted" }));
  keep($("alerts"), shown, (alert) => alert.episode ?? `${alert.group}/${alert.alert}/${JSON.stringify(alert.labels)}`, make, (node, alert) => {
    const level = alert.phase === "resolved" ? "good" : alert.phase === "pending" ? "unsure" : alert.severity === "critical" ? "high" : "moderate";
    node.className = level;
    node.dataset.alert = alert.alert;
    node.dataset.state = alert.phase;
    const about = ["feature", "segment", "version"].map((label) => alert.labels[label]).filter(Boolean).join(" ");
    put(node.querySelector("strong"), about ? `${alert.alert}: ${about}` : alert.alert);
    chip(node.querySelector(".chip"), level, alert.severity && alert.phase !== "resolved" ? `${alert.phase}, ${alert.severity}` : alert.phase);
    const says = alert.annotations.summary ?? alert.reason;
    const why = alert.phase === "resolved" ? null : alert.explanation?.sentence;
    put(node.children[1], why && !says.includes(why) ? `${says} (${why})` : says);
    const since = alert.startsAt ?? alert.activeAt;
    put(node.children[2], [alert.labels.model ?? alert.labels.topic, since ? `since ${instant(since)}` : "", alert.endsAt ? `until ${instant(alert.endsAt)}` : "", alert.annotations.summary ? alert.reason : ""].filter(Boolean).join(" · "));
  });
}

const SAYS = {
  alert: (event) => `${event.alert}${event.labels?.feature ? ` (${event.labels.feature})` : ""} is ${event.state}${event.reason ? `: ${event.reason}` : ""}`,
  notification: (event) => `${event.receiver}: ${event.kind}${event.outcome ? `, ${event.outcome}` : ""}`,
  action: (event) => `${event.action}: ${event.outcome}${event.reason ? `, ${event.reason}` : ""}`,
};
function showEvents(events) {
  const shown = events.map((event, index) => ({ event, index })).reverse().slice(0, 100);
  $("events-empty").hidden = shown.length > 0;
  put($("events-empty"), "Alerts, messages to receivers and calls of actions are listed here as they happen.");
  keep($("events"), shown, ({ event }) => JSON.stringify(event), ({ event }) => el("li", { class: event.type ?? "" }, el("time", {}, event.at ? `${event.at.slice(5, 10)} ${clock(event.at)}` : ""), el("span", { class: "tag" }, event.type === "notification" ? "message" : (event.type ?? "event")), el("span", {}, SAYS[event.type]?.(event) ?? event.message ?? "")), () => {});
}

function complain(text) {
  $("banner").hidden = !text;
  put($("banner"), text ?? "");
}

let running = false;
let again = false;
async function refresh() {
  if (running) { again = true; return; }
  running = true;
  try {
    const [status, models, alerts, events] = await Promise.all([data("/api/v1/status"), data("/api/v1/models"), data("/api/v1/alerts?state=all"), data("/api/v1/events")]);
    showStatus(status);
    const model = showModels(models, alerts.alerts, status);
    showAlerts(alerts.alerts);
    showEvents(events);
    if (model) {
      chosen.window ??= model.windows[0]?.name ?? Object.keys(model.latest)[0] ?? null;
      const [features, measured, summaries] = await Promise.all([
        data(`/api/v1/features?${query({ histogram: "false", limit: "2000" })}`),
        model.labels ? lines(`/api/v1/windows?${query({ subject: "model", limit: "3000" })}`) : [],
        model.labels ? lines(`/api/v1/windows?${query({ type: "window", limit: "60" })}`) : [],
      ]);
      showFilters(model, features);
      const own = features.filter((feature) => feature.version === chosen.version && segmentText(feature.segment) === chosen.segment);
      if (!own.some((feature) => feature.subject === chosen.feature)) chosen.feature = own[0]?.subject ?? null;
      showFeatures(model, own, alerts.alerts, status);
      showPerformance(model, measured, summaries);
      const detail = chosen.feature ? await data(`/api/v1/features?${query({ feature: chosen.feature, version: chosen.version, segment: chosen.segment })}`) : [];
      showDetail(detail.find((feature) => feature.subject === chosen.feature));
    } else {
      $("features-empty").hidden = false;
      put($("features-empty"), "Waiting for a model.");
      put($("performance-empty"), "Waiting for a model.");
      showDetail(null);
    }
    put($("updated"), `Updated ${new Date().toLocaleTimeString()}.`);
    document.body.dataset.loaded = "true";
    complain(null);
  } catch (fault) {
    complain(`The agent does not answer: ${fault.message}. Trying again every two seconds; what is shown may be old.`);
  } finally {
    running = false;
    if (again) { again = false; refresh(); }
  }
}

for (const name of ["window", "version", "segment"]) {
  $(name).addEventListener("change", (event) => { chosen[name] = event.target.value; refresh(); });
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
refresh();
