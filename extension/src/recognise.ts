/** Tells a Cloister kernel from any other. It only decides whether to ask; the answer is read on its own merits. */

import type { Kernel } from '@jupyterlab/services';

const MODULES = ['cloister.analyst', 'cloister.replay'];

/** Whether the kernel's name, its kernelspec or its `kernel_info_reply` says Cloister. */
export async function isCloister(kernel: Kernel.IKernelConnection): Promise<boolean> {
  if (/^cloister(-|$)/.test(kernel.name)) {
    return true;
  }
  try {
    const spec = await kernel.spec;
    if (spec?.argv.some(word => MODULES.includes(word))) {
      return true;
    }
    const info: unknown = await kernel.info;
    return typeof info === 'object' && info !== null && 'cloister' in info;
  } catch {
    // The kernel went away while being asked: whatever it was, it is no more.
    return false;
  }
}
