// One page of the executions at a time, however many there are: each begins where the one before it ended.

import { call } from "./api.js";
import { $ } from "./text.js";

export const PAGE = 50;
const LOOKS = 10; // searches for one page

export class Pages {
  constructor({ changed }) {
    this.cursors = [""]; // of the pages up to the one that is shown
    this.next = null;
    for (const [id, step] of [["newer", -1], ["older", 1]]) {
      $(id).addEventListener("click", () => {
        if (step > 0 && this.next) this.cursors.push(this.next);
        else if (step < 0 && this.cursors.length > 1) this.cursors.pop();
        changed();
        $("list").scrollTop = 0;
      });
    }
  }

  first() {
    this.cursors = [""];
  }

  // The executions of this page; null if another page was asked for meanwhile.
  async load(values) {
    const cursor = this.cursors.at(-1);
    const executions = [];
    let next = cursor;
    // One search looks at a limited number of executions, and may find few: then it goes on for a while.
    for (let looks = 0; looks < LOOKS && next !== null && executions.length < PAGE; looks += 1) {
      const asked = new URLSearchParams(values);
      asked.set("summary", "true");
      asked.set("limit", String(PAGE - executions.length));
      asked.set("cursor", next);
      const found = await call("GET", `/executions?${asked}`);
      if (cursor !== this.cursors.at(-1)) return null;
      executions.push(...found.executions);
      next = found.next || null;
    }
    this.next = next;
    const number = this.cursors.length;
    $("pager").hidden = number === 1 && !this.next;
    $("newer").disabled = number === 1;
    $("older").disabled = !this.next;
    $("page-number").textContent = `Page ${number}`;
    return executions;
  }
}
