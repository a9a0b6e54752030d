// docutils gives the entries of a bibliography a role that ARIA has withdrawn, inside a list.
for (const entry of document.querySelectorAll('[role="doc-biblioentry"]')) entry.setAttribute("role", "listitem");
