// The serial console of an instance, in the browser.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("terminal");
  const status = document.getElementById("terminal-state");
  const term = new Terminal({ cols: 100, rows: 32, scrollback: 5000, fontSize: 14, fontFamily: 'ui-monospace, "SF Mono", "DejaVu Sans Mono", Consolas, monospace', screenReaderMode: true, theme: { background: "#14110e", foreground: "#efe8e0", cursor: "#f0aa6c", selectionBackground: "#5b4632" } });
  term.open(place);
  term.focus();
  const say = (text, tone) => { status.textContent = text; status.className = "state " + tone; };

  function connect() {
    say("connecting", "busy");
    const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/terminal([?#].*)?$/, "serial"));
    socket.binaryType = "arraybuffer";
    const typed = new TextEncoder();
    const listener = term.onData((data) => { if (socket.readyState === WebSocket.OPEN) socket.send(typed.encode(data)); });
    const binary = term.onBinary((data) => { if (socket.readyState === WebSocket.OPEN) socket.send(Uint8Array.from(data, (c) => c.charCodeAt(0))); });
    socket.addEventListener("open", () => { term.reset(); say("connected", "good"); });
    socket.addEventListener("message", ({ data }) => {
      term.write(new Uint8Array(data), () => { if (socket.readyState === WebSocket.OPEN) socket.send("ack " + data.byteLength); });
    });
    socket.addEventListener("close", () => {
      listener.dispose();
      binary.dispose();
      say("disconnected", "bad");
    });
  }

  document.getElementById("terminal-again").addEventListener("click", () => { connect(); term.focus(); });
  connect();
});
