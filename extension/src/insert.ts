/** Inserts the name of a table or column where the cursor is, in the form that fits there. */

import type { CodeEditor } from '@jupyterlab/codeeditor';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';

/** What to write after `before` (the line up to the cursor) for a table, or one of its columns. */
export function expression(before: string, table: string, column: string | null): string {
  const handle = `cl.table(${JSON.stringify(table)})`;
  if (column === null) {
    return handle;
  }
  const subscript = `[${JSON.stringify(column)}]`;
  // After a name or a closing bracket the reader means a column of what stands there.
  return /[\w)\]]$/.test(before) ? subscript : handle + subscript;
}

/** Write it into the active code cell, or into a new one below a cell of text. */
export function insert(panel: NotebookPanel, table: string, column: string | null): void {
  const { content: notebook } = panel;
  if (notebook.activeCell?.model.type !== 'code') {
    NotebookActions.insertBelow(notebook);
  }
  const editor = notebook.activeCell?.editor;
  if (editor) {
    editor.replaceSelection?.(expression(beforeCursor(editor), table, column));
    notebook.mode = 'edit';
    editor.focus();
  }
}

function beforeCursor(editor: CodeEditor.IEditor): string {
  const { line, column } = editor.getCursorPosition();
  return (editor.getLine(line) ?? '').slice(0, column);
}
