// What the signed-in person may do, as the control plane says it (`may` of /session: "METHOD /path" of each route).
// An element with `data-needs` is shown only to whom that route is allowed; so the page has no list of roles of its own.

let allowed = new Set();

export function may(route) {
  return allowed.has(route);
}

// Sets what is allowed, and looks again at each element. The style sheet hides what is refused, whatever `hidden` says.
export function setRights(routes) {
  allowed = new Set(routes);
  for (const element of document.querySelectorAll("[data-needs]")) needs(element, element.dataset.needs);
}

// Lets an element need a route from now on.
export function needs(element, route) {
  element.dataset.needs = route;
  element.toggleAttribute("data-refused", !may(route));
}
