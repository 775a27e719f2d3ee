/** Section: the report of `verify`, step by step, each line with a way to its cell. */

import * as React from 'react';

import { age } from '../figures';
import type { IFinding, IReport, IStep, Level } from '../report';
import type { Words } from '../words';
import { Section } from './section';

const MARKS: Record<Level, string> = { ok: '✓', note: '–', reservation: '!', fail: '✕' };
const TONES = ['green', 'amber', 'red'] as const;

interface IProps {
  readonly report: IReport | 'running';
  readonly words: Words;
  readonly goTo: (cell: number) => void;
}

export function VerificationSection(props: IProps): JSX.Element {
  const { report, words, goTo } = props;
  const title = words.t('Verification');
  if (report === 'running') {
    return (
      <Section name="verification" title={title} summary={words.t('running …')}>
        <div className="cl-Progress" role="progressbar" aria-label={title} />
      </Section>
    );
  }
  return (
    <Section name="verification" title={title} summary={age(report.time, words)}>
      <div
        className="cl-Verdict"
        role="status"
        data-tone={TONES[Math.min(report.exit_code === 0 ? 0 : toneAt(report), 2)]}
      >
        <strong>{words.known(report.overall)}</strong>
        {report.reservations.length > 0 && (
          <span>
            {words.t('Reservations')}: {report.reservations.map(text => words.known(text)).join(', ')}
          </span>
        )}
      </div>
      <p className="cl-Fine">{words.known(report.completeness)}</p>
      <ol className="cl-Steps">
        {report.steps.map(step => (
          <Step
            key={step.number}
            step={step}
            findings={report.findings.filter(found => found.step === step.number)}
            words={words}
            goTo={goTo}
          />
        ))}
      </ol>
    </Section>
  );
}

function toneAt(report: IReport): number {
  return report.findings.some(found => found.level === 'fail') ? 2 : 1;
}

function said(level: Level, words: Words): string {
  return { ok: words.t('true'), note: words.t('note'), reservation: words.t('reservation'), fail: words.t('false') }[
    level
  ];
}

/** A step's name and what it asks. */
function Title(props: { text: string }): JSX.Element {
  const [, head, rest] = /^([^:：]+[:：])(.*)$/.exec(props.text) ?? ['', props.text, ''];
  return (
    <>
      <span className="cl-Step-name">{head}</span>
      <span className="cl-Step-about">{rest}</span>
    </>
  );
}

interface IStepProps {
  readonly step: IStep;
  readonly findings: readonly IFinding[];
  readonly words: Words;
  readonly goTo: (cell: number) => void;
}

function Step(props: IStepProps): JSX.Element {
  const { step, findings, words, goTo } = props;
  const bad = step.level === 'fail' || step.level === 'reservation';
  return (
    <li className="cl-Step" data-level={step.level} data-step={step.number}>
      <details open={bad}>
        <summary>
          <span className="cl-Step-mark" aria-hidden="true">
            {MARKS[step.level]}
          </span>
          <span>
            <span className="cl-Hidden">{said(step.level, words)}: </span>
            <Title text={words.known(step.title)} />
          </span>
        </summary>
        <ul>
          {findings.map((found, index) => (
            <li key={index} data-level={found.level}>
              {found.cell !== null && (
                <button type="button" className="cl-Link" onClick={() => goTo(found.cell ?? 0)}>
                  {words.t('Cell %1', found.cell + 1)}
                </button>
              )}
              <span>{found.text}</span>
              {found.level !== 'ok' && <code>{found.code}</code>}
            </li>
          ))}
        </ul>
      </details>
    </li>
  );
}
