// What the reader predicted, kept in their own browser and nowhere else.

const MEMORY = "wmhqc-predictions";

// Without a memory (a private window, a frame of another origin) a page works all the same.
function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(MEMORY) ?? "{}");
    return found && typeof found === "object" && !Array.isArray(found) ? found : {};
  } catch {
    return {};
  }
}

function remember(all) {
  try {
    localStorage.setItem(MEMORY, JSON.stringify(all));
    return true;
  } catch {
    return false;
  }
}
