// Markdown as elements, of a text that may still be written: with `marked` and `remend`.
import type { ComponentType, MemoExoticComponent } from "react";

/** With `growing` as it will look. `code` renders a block of code in place of `<pre><code>`. Headings begin at `<h3>`. */
export const Markdown: MemoExoticComponent<ComponentType<{
  text: string;
  growing?: boolean;
  code?: ComponentType<{ text: string; language: string }>;
  className?: string;
}>>;
