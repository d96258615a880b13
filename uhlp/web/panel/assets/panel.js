// The panel in the browser: times in the viewer's zone, the dialog before an action, and what stays as it was (focus,
// opened details, scrolled tables) when a section is drawn anew.
(() => {
  const opened = new Map(), scrolled = new Map();
  let focused = null, asking = null;

  const zone = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const brief = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

  function localise(time) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) return;
    const isToday = moment.toDateString() === new Date().toDateString();
    const form = time.classList.contains("brief") ? brief : isToday ? clock : zone;
    const text = form.format(moment);
    if (time.textContent !== text) time.textContent = text;
  }

  const keyed = (key) => [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);

  let isWatched = false;

  // Whose session is over is sent to the log-in instead of being told that the connection is lost.
  function watchConnection() {
    if (isWatched || !window.socket) return;
    isWatched = true;
    window.socket.on("disconnect", async () => {
      const answer = await fetch("/panel/", { redirect: "manual" }).catch(() => null);
      if (answer?.type === "opaqueredirect") location.reload();
    });
  }

  function settle() {
    watchConnection();
    document.querySelectorAll("time[datetime]").forEach(localise);
    document.querySelectorAll("details[data-key]").forEach((one) => {
      if (opened.has(one.dataset.key)) one.open = opened.get(one.dataset.key);
    });
    scrolled.forEach((place, label) => {
      const box = [...document.querySelectorAll("pre.block")].find((one) => one.ariaLabel === label);
      if (box && box.scrollTop !== place[0]) [box.scrollTop, box.scrollLeft] = place;
    });
    if (focused && document.activeElement === document.body) keyed(focused)?.focus({ preventScroll: true });
  }

  document.addEventListener("focusin", (event) => { focused = event.target.dataset?.key ?? null; });
  document.addEventListener("toggle", (event) => {
    if (event.target.dataset?.key) opened.set(event.target.dataset.key, event.target.open);
  }, true);
  document.addEventListener("scroll", (event) => {
    const box = event.target;
    if (box.matches?.("pre.block")) scrolled.set(box.ariaLabel, [box.scrollTop, box.scrollLeft]);
  }, true);

  const part = (name) => document.querySelector(`dialog [data-part="${name}"]`);

  function ask(button, question) {
    asking = button;
    part("title").textContent = question.title;
    part("text").textContent = question.text;
    part("more").hidden = !question.name;
    part("label").textContent = question.label;
    part("value").value = question.value;
    part("reason").value = question.reason;
    part("why").hidden = !question.isReasoned;
    part("reason").required = question.isReasoned;
    document.querySelector("dialog").showModal();
    (question.name ? part("value") : question.isReasoned ? part("reason") : part("confirm")).focus();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-action]");
    if (button?.dataset.ask) ask(
      { action: button.dataset.action, fields: JSON.parse(button.dataset.fields), key: button.dataset.key },
      JSON.parse(button.dataset.ask),
    );
    else if (button) emitEvent("panel_action", {
      action: button.dataset.action, fields: JSON.parse(button.dataset.fields),
    });
    else if (event.target.dataset?.part === "cancel") document.querySelector("dialog").close();
  });

  // A form's inputs go together with the action, or with the one that the pressed button names.
  function send(form, pressed) {
    const fields = Object.fromEntries(
      [...form.querySelectorAll("[data-field]")].map((one) => [one.dataset.field, one.value]),
    );
    emitEvent("panel_action", { action: pressed?.value || form.dataset.form, fields });
  }

  document.addEventListener("submit", (event) => {
    const place = event.target.dataset.place;
    if (event.target.dataset.form) {
      event.preventDefault();
      send(event.target, event.submitter);
      return;
    }
    if (!place && !event.target.closest("dialog")) return;
    event.preventDefault();
    if (place) {
      const given = [...event.target.querySelectorAll("[data-query]")].map((one) => [one.dataset.query, one.value.trim()]);
      location.href = `${place}?${new URLSearchParams(given.filter(([, value]) => value))}`;
      return;
    }
    const more = part("more").hidden ? {} : { value: part("value").value };
    emitEvent("panel_action", {
      action: asking.action, fields: { ...asking.fields, ...more, reason: part("reason").value },
    });
    document.querySelector("dialog").close();
    keyed(asking.key)?.focus();
  });

  let isSettling = false;
  new MutationObserver(() => {
    if (isSettling) return;
    isSettling = true;
    requestAnimationFrame(() => { isSettling = false; settle(); });
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
