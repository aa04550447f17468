"use strict";
// Asks for the snapshot every 2 s, with the ETag of the last one, and shows it. What hosts say is only ever text.
const rows = document.getElementById("hosts");
const summary = document.getElementById("summary");
const show = (value, digits, unit) => (value === null ? "–" : value.toFixed(digits) + unit);
let etag = "";

function row(host) {
  const m = host.metrics;
  const cells = [host.displayName, host.ip ?? "–", host.status + (host.isSynthetic ? " (virtual)" : ""), host.severity ?? "",
    show(m.cpuLoad, 1, "%"), show(m.memoryUsedPercent, 1, "%"), show(m.loadAverage, 2, ""), show(m.cpuTemperature, 1, " °C"),
    show(m.netThroughputGbps, 3, " Gbit/s"), host.rack ?? "", host.lastSeen ?? ""];
  const line = document.createElement("tr");
  line.className = host.status;
  cells.forEach((text, column) => {
    const cell = document.createElement(column === 0 ? "th" : "td");
    if (column === 0) cell.scope = "row";
    if (column >= 4 && column <= 8) cell.className = "number";
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
      summary.textContent = `${twin.hosts.length} hosts, ${online} online, ${twin.generatedAt}`;
    } else if (answer.status !== 304) throw new Error(`EGO answered ${answer.status}`);
    document.body.classList.remove("lost");
  } catch (error) {
    document.body.classList.add("lost");
    summary.textContent = `no answer, trying again: ${error.message}`;
  }
  setTimeout(refresh, 2000);
}
refresh();
