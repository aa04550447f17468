"use strict";
// Asks for the snapshot every 2 s, with the ETag of the last one, and shows it. What hosts say is only ever text.
const rows = document.getElementById("hosts");
const summary = document.getElementById("summary");
const words = JSON.parse(document.body.dataset.words);
const show = (value, digits, unit) => (value === null ? "–" : value.toFixed(digits) + unit);
let etag = "";

function row(host) {
  const m = host.metrics;
  const name = host.displayName === host.hostname ? host.hostname : `${host.hostname} (${host.displayName})`;
  const cells = [name, host.ip ?? "–", words[host.status] + (host.isSynthetic ? ` (${words.virtual})` : "") + (host.unverified ? ` (${words.unverified})` : ""), words[host.severity] ?? "",
    show(m.cpuLoad, 1, "%"), show(m.memoryUsedPercent, 1, "%"), show(m.loadAverage, 2, ""), show(m.fullestDiskPercent, 1, "%"), show(m.cpuTemperature, 1, " °C"),
    show(m.netThroughputGbps, 3, " Gbit/s"), host.rack ?? "", host.lastSeen ?? ""];
  const line = document.createElement("tr");
  line.className = host.status;
  cells.forEach((text, column) => {
    const cell = document.createElement(column === 0 ? "th" : "td");
    if (column === 0) cell.scope = "row";
    if (column >= 4 && column <= 9) cell.className = "number";
    cell.textContent = text;
    line.append(cell);
  });
  return line;
}

async function refresh() {
  try {
    const answer = await fetch("api/twin/state", { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
    if (answer.ok) {
      etag = answer.headers.get("ETag");
      const twin = await answer.json();
      rows.replaceChildren(...twin.hosts.map(row));
      const online = twin.hosts.filter((host) => host.status === "online").length;
      summary.textContent = words.count.replace("{total}", twin.hosts.length).replace("{online}", online).replace("{at}", twin.generatedAt);
    } else if (answer.status !== 304) throw new Error(`EGO answered ${answer.status}`);
    document.body.classList.remove("lost");
  } catch (error) {
    document.body.classList.add("lost");
    summary.textContent = `${words.lost}: ${error.message}`;
  }
  setTimeout(refresh, 2000);
}
refresh();
