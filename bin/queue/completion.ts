/** `queue completion`: the scripts that have shells ask the commands themselves what may come next. */
import { Argument, type Command } from 'commander';
import { COMPLETE } from '../complete.ts';
import { print } from '../output.ts';

const INSTALL = `
Without a shell it says this:
  bash  echo 'source <(queue completion bash)' >> ~/.bashrc
  zsh   echo 'source <(queue completion zsh)' >> ~/.zshrc      (after compinit)
  fish  queue completion fish > ~/.config/fish/completions/queue.fish
        for name in queue-worker queue-daemon; do
          echo 'source ~/.config/fish/completions/queue.fish' > ~/.config/fish/completions/$name.fish; done
Then open a new shell. Verbs and options, queues, workers and daemons are looked up as you type, so a script never ages.

Example:
  source <(queue completion bash)`;

export function completionCommand(program: Command): void {
  program
    .command('completion')
    .addArgument(new Argument('[shell]', 'the shell to print a script for').choices(['bash', 'zsh', 'fish']))
    .description('print a script that completes verbs, options, queues, workers and daemons on TAB')
    .addHelpText('after', INSTALL)
    .action((shell: keyof typeof SCRIPTS | undefined, _: unknown, command: Command) =>
      shell === undefined ? command.outputHelp() : print(SCRIPTS[shell]),
    );
}

/** `$1` is the command as it was typed. bash 3 has no compopt, and completes no paths. */
const BASH = `# bash completion for queue, queue-worker and queue-daemon
_coda_queue() {
  local line word
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) compopt -o default 2>/dev/null ;;
      :folders) compopt -o dirnames 2>/dev/null ;;
      *)
        word=\${line%%$'\\t'*}
        COMPREPLY+=("$word")
        ;;
    esac
  done < <("$1" ${COMPLETE} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null)
}
complete -F _coda_queue queue queue-worker queue-daemon`;

const ZSH = `#compdef queue queue-worker queue-daemon
_coda_queue() {
  local line word about
  local -a candidates
  for line in "\${(@f)$("\${words[1]}" ${COMPLETE} -- "\${(@)words[2,CURRENT]}" 2>/dev/null </dev/null)}"; do
    case $line in
      '') ;;
      :files) _files ;;
      :folders) _files -/ ;;
      *)
        word=\${line%%$'\\t'*}
        about=\${line#*$'\\t'}
        candidates+=("\${word//:/\\\\:}:$about")
        ;;
    esac
  done
  (( $#candidates )) && _describe 'candidate' candidates
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _coda_queue "$@"
else
  compdef _coda_queue queue queue-worker queue-daemon
fi`;

const FISH = `# fish completion for queue, queue-worker and queue-daemon
function __coda_queue
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] ${COMPLETE} -- $words[2..-1] "$current" 2>/dev/null </dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':folders'
                __fish_complete_directories "$current"
            case '*'
                printf '%s\\n' $line
        end
    end
end
complete -c queue -f -a '(__coda_queue)'
complete -c queue-worker -f -a '(__coda_queue)'
complete -c queue-daemon -f -a '(__coda_queue)'`;

const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH };
