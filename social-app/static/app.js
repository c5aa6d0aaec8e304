// Enhances pages that work without it: parts are replaced instead of pages, lists go on by themselves, news comes live.
"use strict";
(() => {
  const { csrf, live, me } = document.body.dataset;
  const announce = document.querySelector("#toasts");

  function toast(content) {
    if (!announce) return;
    const line = typeof content === "string" ? Object.assign(document.createElement("div"), { className: "toast plain", textContent: content }) : content;
    announce.append(line);
    while (announce.children.length > 3) announce.firstElementChild.remove();
    setTimeout(() => line.remove(), 6000);
  }

  // HTML of our own server, as elements.
  function elements(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  async function fragment(address, options = {}) {
    const answer = await fetch(address, { ...options, headers: { "x-fragment": "1", ...options.headers }, credentials: "same-origin" });
    if (answer.redirected && new URL(answer.url).pathname === "/sign-in") {
      location.assign("/sign-in");
      return new Promise(() => {});
    }
    const text = await answer.text();
    if (!answer.ok) {
      const page = new DOMParser().parseFromString(text, "text/html");
      throw new Error(page.querySelector(".notice p:not(.notice-sign)")?.textContent || "That did not work. Please try again.");
    }
    return elements(text);
  }

  // What a form's answer takes the place of.
  const swaps = {
    self: (form, made) => {
      const held = form.contains(document.activeElement);
      const fresh = made.firstElementChild;
      form.replaceWith(made);
      if (held) fresh?.querySelector("button")?.focus();
    },
    parent: (form) => {
      form.closest("li").remove();
      commented(-1);
    },
    profile: (form, made) => {
      const held = form.contains(document.activeElement) && form.getAttribute("action");
      form.closest(".profile").replaceWith(made);
      if (held) document.querySelector(`.profile form[action="${held}"] button`)?.focus();
    },
    prepend: (form, made) => {
      const section = form.closest("section");
      section.querySelector("[data-list]").prepend(made);
      section.querySelector(".empty")?.remove();
      form.reset();
      commented(1);
    },
    talk: (form, made) => {
      addMessages(form.closest(".talk").querySelector("[data-talk]"), made);
      form.reset();
      form.querySelector("textarea").focus();
    },
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) return event.preventDefault();
    const swap = swaps[form.dataset.swap] || ("compose" in form.dataset && composed);
    if (!swap) return;
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = "1";
    const button = form.querySelector("button:not([type=button])");
    button?.setAttribute("aria-busy", "true");
    try {
      swap(form, await fragment(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }));
    } catch (error) {
      toast(error.message);
    } finally {
      delete form.dataset.busy;
      button?.removeAttribute("aria-busy");
    }
  });

  // The number beside the post whose comments these are; one as short as 1.2k stays.
  function commented(by) {
    const number = document.querySelector("[data-comment-count]");
    if (number && /^\d+$/.test(number.textContent)) number.textContent = Math.max(0, Number(number.textContent) + by);
  }

  function composed(form, made) {
    document.querySelector("#feed .empty")?.remove();
    document.querySelector("#feed")?.prepend(made);
    form.reset();
    form.querySelector("[data-previews]").replaceChildren();
    watchGalleries();
  }

  // Enter sends where one line is usual; Shift and Enter begins a new one.
  document.addEventListener("keydown", (event) => {
    const form = event.target.closest?.(".comment-form");
    if (form && event.target.matches("textarea") && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (form.reportValidity()) form.requestSubmit();
    }
  });

  // Lists that go on as their end comes near.
  const ends = new IntersectionObserver((seen) => {
    for (const entry of seen) if (entry.isIntersecting) goOn(entry.target);
  }, { rootMargin: "600px" });

  async function goOn(link) {
    if (link.dataset.busy) return;
    link.dataset.busy = "1";
    ends.unobserve(link);
    try {
      const made = await fragment(link.href);
      // What came meanwhile at the top may come once more below.
      for (const element of [...made.children]) if (element.id && document.getElementById(element.id)) element.remove();
      const next = made.querySelector("[data-more]");
      link.replaceWith(made);
      if (next) ends.observe(next);
      watchGalleries();
    } catch {
      delete link.dataset.busy; // It is still a link.
    }
  }
  const watchEnds = () => document.querySelectorAll("[data-more]:not([data-busy])").forEach((link) => ends.observe(link));
  watchEnds();

  // Pictures that are being made ready come when they are.
  async function settle(gallery) {
    for (let tries = 0, pause = 400; tries < 12 && gallery.isConnected; tries++, pause *= 1.5) {
      await new Promise((over) => setTimeout(over, pause));
      try {
        const made = (await fragment(gallery.dataset.gallery)).firstElementChild;
        if (!made) return;
        if (!("gallery" in made.dataset)) return gallery.replaceWith(made);
      } catch { /* The next time, perhaps. */ }
    }
  }
  const watchGalleries = () => document.querySelectorAll("[data-gallery]:not([data-busy])").forEach((gallery) => {
    gallery.dataset.busy = "1";
    settle(gallery);
  });
  watchGalleries();

  // Search as one types.
  const search = document.querySelector("[data-search]");
  let typing;
  search?.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(async () => {
      const wanted = search.q.value;
      try {
        const made = await fragment("/search?q=" + encodeURIComponent(wanted));
        if (wanted === search.q.value) document.querySelector("[data-results]").replaceChildren(made);
      } catch (error) { toast(error.message); }
    }, 250);
  });

  // Pictures are sent while one still writes.
  document.querySelectorAll("[data-needs-script]").forEach((element) => { element.hidden = false; });
  document.addEventListener("change", (event) => {
    const input = event.target;
    if (!("upload" in input.dataset)) return;
    const form = input.closest("form");
    for (const file of input.files) upload(form, file, input.dataset.upload || "media");
    input.value = "";
  });

  async function upload(form, file, name) {
    const place = form.querySelector("[data-previews]");
    const preview = Object.assign(document.createElement("div"), { className: "preview waiting" });
    if (name !== "media") place.replaceChildren();
    if (file.type.startsWith("image/")) {
      const picture = Object.assign(document.createElement("img"), { src: URL.createObjectURL(file), alt: file.name });
      picture.onload = () => URL.revokeObjectURL(picture.src);
      preview.append(picture);
    } else preview.append(file.name);
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "✕" });
    remove.setAttribute("aria-label", "Remove " + file.name);
    remove.onclick = () => preview.remove();
    preview.append(remove);
    place.append(preview);
    try {
      const answer = await fetch("/api/v1/media", { method: "POST", body: file, headers: { "content-type": file.type || "application/octet-stream", "x-csrf-token": csrf }, credentials: "same-origin" });
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(told.detail || "The file could not be sent.");
      preview.append(Object.assign(document.createElement("input"), { type: "hidden", name, value: told.id }));
      preview.classList.remove("waiting");
    } catch (error) {
      preview.remove();
      toast(error.message);
    }
  }

  // News
  function addMessages(list, made) {
    for (const element of [...made.children]) if (document.getElementById(element.id)) element.remove();
    list.prepend(made);
  }

  async function newMessages() {
    const list = document.querySelector("[data-talk]");
    if (list) {
      const latest = list.querySelector("[data-at]")?.dataset.at || 0;
      addMessages(list, await fragment(list.dataset.talk + "?after=" + latest));
      return;
    }
    const inbox = document.querySelector("[data-refresh]");
    if (inbox) inbox.replaceChildren(await fragment(inbox.dataset.refresh));
  }

  // One's own numbers, where they are to be seen.
  async function ownProfile() {
    const profile = document.querySelector(`[data-profile="/people/${me}/head"]`);
    if (profile) profile.replaceWith(await fragment(profile.dataset.profile));
  }

  function badge(name, number) {
    const element = document.querySelector(`[data-badge=${name}]`);
    if (!element) return;
    element.hidden = number === 0;
    element.firstChild.data = number > 99 ? "99+" : String(number);
  }

  let known;
  async function news(now) {
    badge("notifications", now.notifications);
    badge("messages", now.messages);
    const before = known;
    known = now;
    try {
      if (!before || now.messages !== before.messages || now.number !== before.number) await newMessages();
      if (before && (now.notifications !== before.notifications || now.number !== before.number)) await ownProfile();
      if (before && now.notifications > before.notifications) {
        const line = (await fragment("/notifications/latest")).firstElementChild;
        if (line) toast(line);
      } else if (before && now.messages > before.messages && !document.querySelector("[data-talk]")) {
        toast("You have a new message");
      }
    } catch { /* The next news asks again. */ }
  }

  if (live && window.EventSource) {
    let source;
    const open = () => {
      source = new EventSource(live);
      source.addEventListener("news", (event) => news(JSON.parse(event.data)));
    };
    open();
    // A page that nobody looks at keeps no connection.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) source.close();
      else if (source.readyState === EventSource.CLOSED) open();
    });
  }
})();
