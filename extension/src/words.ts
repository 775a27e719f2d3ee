/**
 * The extension's words in the user's language.
 *
 * JupyterLab's language packs come first. For Chinese a small dictionary ships with the extension, so that no pack is
 * needed. `%1` stands for the first argument.
 */

import { ITranslator, nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import { CHINESE } from './zh';

const ENDED = ' (kernel ended)';

function localeOf(code: string): string | undefined {
  try {
    // English is Lab's word for "no choice made": then the browser knows the reader better.
    return code === 'en' ? undefined : Intl.getCanonicalLocales(code)[0];
  } catch {
    return undefined;
  }
}

/** Translates; keeps English where there is no translation. */
export class Words {
  constructor(translator: ITranslator | null) {
    const source = translator ?? nullTranslator;
    this._bundle = source.load('cloister');
    this.locale = localeOf(source.languageCode);
    this._chinese = /^zh\b(?!.*(TW|HK|Hant))/i.test(source.languageCode);
  }

  /** For dates and numbers; `undefined` is the browser's own. */
  readonly locale: string | undefined;

  /** One of the extension's own texts in the user's language. */
  t(english: string, ...args: (string | number)[]): string {
    // The bundle would fill the places itself; handed their own marks it leaves them.
    const packed = this._bundle.__(english, '%1', '%2', '%3');
    const found = packed === english ? this._local(english) : packed;
    return found.replace(/%(\d)/g, (mark, digit) => String(args[Number(digit) - 1] ?? mark));
  }

  /** A text of the proxy: translated if it is one of its fixed texts, whatever stands in its brackets. */
  known(text: string): string {
    const detail = / \(([^()]*)\)/.exec(text);
    const whole = this._local(text);
    if (whole !== text || detail === null) {
      return whole;
    }
    const pattern = text.replace(detail[0], ' (%1)');
    const found = this._local(pattern);
    return found === pattern ? text : found.replace('%1', () => detail[1]);
  }

  /** The proxy's word for the badge. */
  verdict(word: string): string {
    if (word.endsWith(ENDED)) {
      return this.t('%1 (kernel ended)', this.verdict(word.slice(0, -ENDED.length)));
    }
    const genuine = /^Genuine: (.{1,40})$/.exec(word);
    return genuine === null ? this.known(word) : this.t('Genuine: %1', genuine[1]);
  }

  private _local(english: string): string {
    return this._chinese ? (CHINESE.get(english) ?? english) : english;
  }

  private readonly _bundle: TranslationBundle;
  private readonly _chinese: boolean;
}
