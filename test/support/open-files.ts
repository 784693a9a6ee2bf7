/** Which files a simulated machine holds open, by descriptor. */
import type { SimMachine } from './sim-machine.ts';

/** Follows the machine's opens and closes from now on. */
export function openFilesOf({ fs }: SimMachine): Map<number, string> {
  const files = new Map<number, string>();
  const open = fs.open.bind(fs);
  const close = fs.close.bind(fs);
  fs.open = (path, how, mode) => {
    const fd = open(path, how, mode);
    files.set(fd, path);
    return fd;
  };
  fs.close = (fd) => {
    close(fd);
    files.delete(fd);
  };
  return files;
}
