// Fetches the page again when the server says that something has changed, and puts the new content in place of the old. The page
// is complete without this.
"use strict";
(() => {
  const live = document.getElementById("live");
  const words = document.createElement("span");
  const button = document.createElement("button");
  button.type = "button";
  live.append(words, button);
  let isPaused = false;
  let isBusy = false;
  let isDue = false;

  const say = (text, isLost) => {
    if (words.textContent !== text) words.textContent = text;
    live.classList.toggle("lost", isLost);
  };

  // Who has selected text or opened a choice is not disturbed.
  const isInUse = () => {
    const selection = getSelection();
    return !selection.isCollapsed && document.getElementById("main").contains(selection.anchorNode);
  };

  // What a person has opened, where the focus is, and how far it is scrolled stay as they are.
  const replace = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const before = document.getElementById("main");
    const after = page.getElementById("main");
    if (!after) return;
    for (const details of before.querySelectorAll("details[id]")) {
      const same = after.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open;
    }
    const links = (root) => [...root.querySelectorAll("a, summary, h2[tabindex]")];
    const focused = links(before).indexOf(document.activeElement);
    const target = focused < 0 ? null : document.activeElement.outerHTML;
    document.title = page.title;
    before.replaceChildren(...after.childNodes);
    if (target) {
      const same = links(before).filter((element) => element.outerHTML === target);
      (same[0] ?? links(before)[focused])?.focus({ preventScroll: true });
    }
  };

  const update = async () => {
    if (isPaused || isInUse()) return;
    if (isBusy) {
      isDue = true;
      return;
    }
    isBusy = true;
    try {
      const response = await fetch(location.href, { cache: "no-store" });
      if (response.ok) replace(await response.text());
    } catch {
      // The stream of events says so.
    }
    isBusy = false;
    if (isDue) {
      isDue = false;
      update();
    }
  };

  let events = null;
  const connect = () => {
    events = new EventSource("/events");
    events.onopen = () => say("updates itself", false);
    events.onmessage = update;
    events.onerror = () => {
      say("connection lost, trying again", true);
      if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    };
  };

  const pause = (paused) => {
    isPaused = paused;
    button.textContent = paused ? "Continue" : "Pause";
    events?.close();
    if (paused) say("paused", false);
    else connect();
  };
  button.onclick = () => pause(!isPaused);
  pause(false);

  // A choice is followed at once; the button is for those without this script.
  const form = document.querySelector("form.filters");
  form.querySelector("button").hidden = true;
  form.onchange = () => form.submit();
})();
