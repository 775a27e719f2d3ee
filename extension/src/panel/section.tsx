/** A section of the panel: a heading that folds its content away, and says in a word what is inside. */

import { caretDownIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

interface IProps {
  /** The stable name, also for tests and style sheets. */
  readonly name: string;
  readonly title: string;
  readonly summary?: string;
  readonly folded?: boolean;
  readonly children: React.ReactNode;
}

/** The section; its state is the browser's own. */
export function Section(props: IProps): JSX.Element {
  const [open, setOpen] = React.useState(props.folded !== true);
  const id = `cl-section-${props.name}`;
  const Caret = caretDownIcon.react;
  return (
    <section className="cl-Panel-section" data-name={props.name} data-open={open}>
      <h3 className="cl-Panel-heading">
        <button type="button" aria-expanded={open} aria-controls={id} onClick={() => setOpen(!open)}>
          <Caret tag="span" className="cl-Panel-caret" aria-hidden="true" />
          <span className="cl-Panel-title">{props.title}</span>
          <span className="cl-Panel-summary">{props.summary}</span>
        </button>
      </h3>
      <div id={id} className="cl-Panel-body" hidden={!open}>
        {props.children}
      </div>
    </section>
  );
}

/** A sentence where there is nothing to show yet. */
export function Empty(props: { children: React.ReactNode }): JSX.Element {
  return <p className="cl-Empty">{props.children}</p>;
}
