"""The command line: what is printed where, exit codes, and mistakes answered in one line."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from absl.testing import flagsaver
from compiling import compiled_fast

import logjax
from logjax import experiment, main
from logjax.command_line import use_all_cores
from logjax.errors import explain

pytest_plugins = ['tiny_runs']

ROOT = Path(__file__).parent.parent
TINY = ROOT / 'tests' / 'tiny.py'
SAYS_SIMULATED = 'SIMULATED bgl corpus: no log was given, so the lines below are made up'
LAST_LINE = 'SIMULATED corpus: these numbers say nothing about real logs'


@pytest.fixture
def call(runs, capfd, monkeypatch):
  """Runs a command line in this process; returns its exit code, its output and its errors."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(runs.cache.parent))
  monkeypatch.chdir(ROOT)

  def call(*flags: str) -> tuple[int, str, str]:
    capfd.readouterr()
    monkeypatch.setattr(sys, 'argv', ['main.py', *map(str, flags)])
    with flagsaver.flagsaver(), compiled_fast():
      code = main.run()
    out, err = capfd.readouterr()
    return code, out, err

  return call


def command(runs, *flags: str, devices: int) -> dict:
  """What `subprocess` takes to run a command line on a machine with some simulated devices."""
  env = os.environ | {
    'XDG_CACHE_HOME': str(runs.cache.parent),
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  }
  args = [sys.executable, '-m', 'logjax.main', *map(str, flags)]
  return {'args': args, 'env': env, 'cwd': ROOT, 'text': True}


def wait(process: subprocess.Popen, holds: Callable[[], bool]) -> None:
  """Waits until something holds, as long as a process runs."""
  while not holds():
    assert process.poll() is None
    time.sleep(0.05)


def of(workdir: Path, choice: str = 'bgl') -> tuple[str, str]:
  return f'--config={TINY}:{choice}', f'--workdir={workdir}'


def mistake(answer: tuple[int, str, str]) -> str:
  """The one line that a mistake is answered with."""
  code, out, err = answer
  assert (code, out) == (2, '')
  assert err.startswith('logjax: ') and err.count('\n') == 1
  return err.removeprefix('logjax: ').strip()


def test_the_first_and_the_last_line_say_that_the_corpus_is_simulated(runs, call, tmp_path):
  workdir = tmp_path / 'bgl'
  shutil.copytree(runs.finished('bgl'), workdir)  # training again writes its own command
  for mode in ('train', 'evaluate'):
    code, out, err = call(*of(workdir), f'--mode={mode}')
    assert code == 0
    table = out if mode == 'train' else err
    assert err.splitlines()[0] == SAYS_SIMULATED
    assert table.splitlines()[-1] == LAST_LINE
    assert 'honest protocol, no leaks' in table


def test_a_run_on_a_file_does_not_say_simulated(runs, call, tmp_path):
  log = tmp_path / 'mine.log'
  shutil.copy(simulated_log(runs), log)
  flags = (*of(tmp_path / 'workdir'), f'--config.data.path={log}')
  code, out, err = call(*flags, '--config.oversampler.name=none')
  assert code == 0
  assert err.splitlines()[0] == f'bgl corpus (file): {log}'
  assert 'simulated' not in (out + err).lower()
  assert out.splitlines()[-1] == f'report: {tmp_path / "workdir" / "report.html"}'
  results = json.loads((tmp_path / 'workdir' / 'results.json').read_text())
  assert results['origin'] == 'file' and results['corpus']['path'] == [str(log)]
  assert results['command'].startswith('python -m logjax.main --config=')


def simulated_log(runs) -> str:
  results = json.loads((runs.finished('bgl') / 'results.json').read_text())
  return results['corpus']['path'][0]


@pytest.mark.parametrize(('choice', 'devices'), [('bgl', 1), ('bgl,paper', 2)])
def test_evaluation_in_a_process_with_other_devices_prints_the_same_numbers(runs, choice, devices):
  workdir = runs.finished(choice)
  flags = (*of(workdir, choice), '--mode=evaluate')
  answer = subprocess.run(**command(runs, *flags, devices=devices), capture_output=True)
  assert answer.returncode == 0, answer.stderr
  printed = json.loads(answer.stdout)
  assert list(printed) == sorted(printed)
  results = json.loads((workdir / 'results.json').read_text())
  for name in ('test', 'test_std', 'test_unseen', 'repetitions', 'origin', 'protocol', 'leaks'):
    assert printed[name] == results[name], name
  assert answer.stderr.splitlines()[0].startswith('SIMULATED')
  assert answer.stderr.splitlines()[-1] == LAST_LINE


def test_generation_prints_exactly_the_lines_on_standard_output(runs):
  flags = (*of(runs.finished('bgl')), '--mode=generate', '--count=7')
  answer = subprocess.run(**command(runs, *flags, devices=2), capture_output=True)
  assert answer.returncode == 0, answer.stderr
  lines = answer.stdout.splitlines()
  assert len(lines) == 7 and all(lines) and answer.stdout.endswith('\n')
  assert lines == experiment.generate(runs.open(runs.finished('bgl')), 7).to_list()
  assert answer.stderr.splitlines()[0] == SAYS_SIMULATED


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_line_that_says_how_to_go_on_and_loses_nothing(runs, tmp_path, number):
  workdir = tmp_path / 'a workdir'
  flags = (*of(workdir), '--config.seqgan.mle_epochs=100000')
  process = subprocess.Popen(**command(runs, *flags, devices=1), stderr=subprocess.PIPE)
  lines = workdir / 'metrics.jsonl'
  wait(process, lambda: lines.exists() and lines.read_text().count('\n') > 3)  # until it trains
  process.send_signal(number)
  _, err = process.communicate()
  assert process.returncode == 128 + number, err
  first, last = [line for line in err.splitlines() if line.startswith('logjax: ')]
  assert first == f'logjax: {number.name}: saving the epoch of generators'
  assert last.startswith('logjax: stopped; to resume: ')
  assert last.endswith(
    f"-m logjax.main --config={TINY}:bgl '--workdir={workdir}' --config.seqgan.mle_epochs=100000"
  )
  assert 'Traceback' not in err
  heads = (workdir / 'unfinished' / 'generators').glob('[0-9]*/head/*')
  kept = [json.loads(path.read_text()) for path in heads if path.name == 'metadata']
  last = json.loads(lines.read_text().splitlines()[-1])
  assert max(head['about']['epoch'] for head in kept) == last['epoch']


def test_two_processes_do_not_share_a_workdir(runs, tmp_path, call):
  workdir = tmp_path / 'workdir'
  flags = (*of(workdir), '--config.seqgan.mle_epochs=100000')
  process = subprocess.Popen(**command(runs, *flags, devices=1), stderr=subprocess.PIPE)
  try:
    wait(process, (workdir / 'metrics.jsonl').exists)
    said = mistake(call(*flags))
    assert said.startswith(f'another process is at work in {workdir}')
    assert process.poll() is None
  finally:
    process.kill()
    process.communicate()


def test_a_mistake_ends_the_process_with_one_line_and_exit_code_2(runs, tmp_path):
  flags = (*of(tmp_path / 'workdir'), '--config.seed=abc')
  answer = subprocess.run(**command(runs, *flags, devices=1), capture_output=True)
  mistake((answer.returncode, answer.stdout, answer.stderr))


def test_a_closed_pipe_is_no_reason_for_a_traceback(runs):
  flags = (*of(runs.finished('bgl')), '--mode=generate', '--count=2000')
  line = subprocess.list2cmdline(command(runs, *flags, devices=1)['args'])
  kwargs = command(runs, devices=1) | {'args': ['bash', '-c', f'{line} | head -n 1']}
  answer = subprocess.run(**kwargs, capture_output=True)
  assert answer.stdout.count('\n') == 1
  assert 'Traceback' not in answer.stderr and 'BrokenPipe' not in answer.stderr


FLAGS = {
  '--wokdir=1': "Unknown command line flag 'wokdir'. Did you mean: workdir",
  '--mode=trian': 'flag --mode=trian: value should be one of <train|evaluate|generate|ladder|'
  'compare|benchmark>',
  '--count=0': 'flag --count=0: 0 is not a positive integer',
  '--config.seed=abc': "flag --config.seed=abc: invalid literal for int() with base 10: 'abc'",
  '--config.nope=1': "--config has no field 'nope'",
  '--config.sed=1': '--config has no field \'sed\' Did you mean "seed" instead of "sed"?',
  '--config.checkpoint.pth=x': "--config has no field 'pth'",
  '--config.data.download=maybe': 'flag --config.data.download=maybe: (',
  'extra': "unexpected argument 'extra': flags have the form --name=value",
}


@pytest.mark.parametrize('flag', FLAGS)
def test_a_wrong_flag_is_answered_in_one_line(call, tmp_path, flag):
  assert mistake(call(*of(tmp_path / 'workdir'), flag)).startswith(FLAGS[flag])
  assert not (tmp_path / 'workdir').exists()


CONFIGS = {
  'configs/missing.py': f'there is no such file in {ROOT}',
  'configs': f'there is no such file in {ROOT}',
  'configs/bgl.py:nope': "unknown schedule 'nope'",
  'wrong.py': "'(' was never closed (",
  'empty.py': 'this file has no function get_config',
}


@pytest.mark.parametrize('config', CONFIGS)
def test_a_config_that_cannot_be_loaded_is_named(call, tmp_path, config):
  if config in ('wrong.py', 'empty.py'):
    path = tmp_path / config
    path.write_text('def get_config():\n  return (\n' if config == 'wrong.py' else '')
    flag = f'--config={path}'
  else:
    flag = f'--config={config}'
  said = mistake(call(flag, f'--workdir={tmp_path / "workdir"}'))
  assert said.startswith(f'flag {flag}: {CONFIGS[config]}')
  assert not (tmp_path / 'workdir').exists()


def test_a_config_is_found_from_any_folder_with_what_it_imports(call, tmp_path, monkeypatch):
  nope = '--config.protocol=nope'
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [p for p in sys.path if Path(p).resolve() != ROOT])
  for name in [name for name in sys.modules if name.split('.')[0] == 'configs']:
    monkeypatch.delitem(sys.modules, name)
  before = sys.path.copy()
  for path in ('configs/bgl.py', ROOT / 'configs' / 'bgl.py'):
    assert "unknown protocol 'nope'" in mistake(call(f'--config={path}', '--workdir=w', nope))
    assert sys.path == before


def test_a_config_of_the_working_directory_comes_before_that_of_the_checkout(
  call, tmp_path, monkeypatch
):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'bgl.py').write_text('def get_config(): raise ValueError("mine")')
  monkeypatch.chdir(tmp_path)
  assert mistake(call('--config=configs/bgl.py')) == 'flag --config=configs/bgl.py: mine'


def test_a_config_must_be_given(call, tmp_path):
  workdir = of(tmp_path)[1]
  said = '--config must have a value: a file such as --config=configs/thunderbird.py'
  for mode in ('train', 'ladder', 'compare', 'benchmark'):
    assert mistake(call(workdir, f'--mode={mode}')) == said
  assert mistake(call(workdir, '--config.seed=1')) == '--config.seed needs --config=FILE before it'


@pytest.mark.parametrize(
  ('flags', 'folder'),
  [
    (['--config=configs/thunderbird.py'], 'thunderbird'),
    (['--config=configs/bgl.py:quick'], 'bgl_quick'),
    ([f'--config={TINY}:bgl,paper'], 'tiny_bgl_paper'),
    (['--config=configs/bgl.py', '--mode=ladder'], 'bgl_ladder'),
    (['--config=configs/bgl.py:quick', '--mode=compare'], 'bgl_quick_compare'),
  ],
)
def test_a_run_without_a_workdir_is_in_a_folder_named_after_its_config(
  call, tmp_path, monkeypatch, flags, folder
):
  seen = []
  for mode in main.MODES:
    monkeypatch.setitem(main.MODES, mode, lambda config, workdir, stopping: seen.append(workdir))
  monkeypatch.chdir(tmp_path)
  code, out, err = call(*flags)
  assert (code, out, seen) == (0, '', [Path('runs', folder)])
  assert err == f'logjax: no --workdir is given: the run is in runs/{folder}\n'


def test_modes_that_restore_need_a_workdir_or_a_config_that_names_it(call):
  for mode in ('evaluate', 'generate'):
    said = mistake(call(f'--mode={mode}'))
    assert said == f'--mode={mode} needs the --workdir of a trained run'


def test_more_devices_than_there_are_are_refused_for_a_new_workdir_only(runs, call, tmp_path):
  workdir, many = tmp_path / 'workdir', '--config.devices=99'
  said = mistake(call(*of(workdir), many))
  assert said.startswith('--config.devices=99, but the number of devices is 4: give that at most')
  assert not (workdir / 'config.json').exists()
  said = mistake(call(*of(runs.finished('bgl')), many))  # a run may go on with fewer devices
  assert 'holds a run with another config: devices is' in said


def test_help_says_what_the_program_does_and_names_every_flag_and_mode(call):
  code, out, err = call('--help')
  assert (code, err) == (0, '')
  first, *lines = out.splitlines()
  assert first.startswith('Oversamples rare abnormal log lines')
  assert sum(line.startswith('  logjax --config=') for line in lines[:8]) == 2
  for flag in ('config', 'workdir', 'mode', 'count', 'coordinator', 'processes', 'process'):
    assert f'  --{flag}: ' in out
  for mode in main.MODES:
    assert f'    {mode}: ' in out
  assert call('-h') == (code, out, err)


def test_version(call):
  assert call('--version') == (0, f'logjax {logjax.__version__}\n', '')


@pytest.mark.parametrize(
  'flags',
  [
    ['--help'],
    ['--mode=nope'],
    ['--config=configs/bgl.py', '--config.protocol=nope'],
    ['--config=configs/bgl.py', '--config.oversampler.name=nope'],
    ['--config=configs/bgl.py', '--mode=ladder', '--config.seqgan.batch=0'],
  ],
)
def test_wrong_choices_are_answered_before_anything_heavy_is_loaded(flags):
  program = (
    'import sys\nfrom logjax import main\n'
    f"sys.argv = ['logjax', *{flags!r}]\n"
    'code = main.run()\n'
    "loaded = {'jax', 'flax', 'polars', 'sklearn', 'orbax', 'matplotlib'} & set(sys.modules)\n"
    'sys.exit(f"loaded {loaded}" if loaded else code)\n'
  )
  answer = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
  assert answer.returncode == (0 if '--help' in flags else 2), answer.stderr


def test_a_system_without_fcntl_is_refused_in_one_line(call, monkeypatch):
  monkeypatch.setitem(sys.modules, 'fcntl', None)  # Windows has none
  assert 'on Windows use WSL' in mistake(call('--config=configs/bgl.py'))


@pytest.mark.parametrize(
  'flags', [[of(Path('w'))[0], '--mode=benchmark'], [f'--config={ROOT}/configs/benchmark.py']]
)
def test_the_benchmark_needs_its_mode_and_its_config(call, flags):
  said = mistake(call(*flags))
  assert said == '--mode=benchmark and --config=configs/benchmark.py go together'


def test_the_oracle_is_only_trained(call, tmp_path):
  flags = (f'--config={ROOT}/configs/oracle.py', f'--workdir={tmp_path / "workdir"}')
  assert 'configs/oracle.py has --mode=train only' in mistake(call(*flags, '--mode=generate'))
  assert not (tmp_path / 'workdir').exists()


def test_every_core_is_a_device_unless_the_environment_says_otherwise(monkeypatch):
  cores = len(os.sched_getaffinity(0))
  for flags, count, expected in (
    ('', None, str(min(cores, 8))),
    ('', '3', '3'),
    ('--xla_force_host_platform_device_count=5', None, None),
  ):
    monkeypatch.setenv('XLA_FLAGS', flags)
    # Set first, so that what the call sets is taken back when the test ends.
    monkeypatch.setenv('JAX_NUM_CPU_DEVICES', '')
    monkeypatch.delenv('JAX_NUM_CPU_DEVICES')
    if count:
      monkeypatch.setenv('JAX_NUM_CPU_DEVICES', count)
    use_all_cores()
    assert os.environ.get('JAX_NUM_CPU_DEVICES') == expected


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['--config.protocol=nope'], "unknown protocol 'nope'"),
    (['--config.leaks=nope'], "unknown leak 'nope'"),
    (['--config.oversampler.name=nope'], "--config.oversampler.name='nope'"),
    (['--config.data.corpus=nope'], "data.corpus 'nope' is unknown"),
    (['--config.data.path=missing.log'], "data.path 'missing.log' matches no file"),
    (['--config.data.path=missing/*.log'], "data.path 'missing/*.log' matches no file"),
    (['--config.split.train=2'], 'split.train=2'),
    (['--mode=evaluate'], 'holds no run: use --mode=train with this workdir first'),
    (['--mode=generate'], 'holds no run: use --mode=train with this workdir first'),
  ],
)
def test_a_mistake_that_only_the_run_can_see_is_answered_in_one_line(call, tmp_path, flags, said):
  workdir = tmp_path / 'workdir'
  assert said in mistake_after_reading(call(*of(workdir), *flags))
  assert not (workdir / 'config.json').exists()


def mistake_after_reading(answer: tuple[int, str, str]) -> str:
  """The same where the corpus may have been announced before."""
  code, out, err = answer
  lines = [line for line in err.splitlines(keepends=True) if not line.startswith('SIMULATED')]
  return mistake((code, out, ''.join(lines)))


def test_a_workdir_that_cannot_be_written_is_named(call, tmp_path):
  path = tmp_path / 'file'
  path.write_text('')
  for mode in ('train', 'evaluate'):
    said = mistake(call(*of(path), f'--mode={mode}'))
    assert said == f'--workdir={path} is a file: name a folder'
  inside = path / 'workdir'
  assert mistake(call(*of(inside))) == f'cannot write to --workdir={inside}: Not a directory'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_workdir_without_permission_is_named(call, tmp_path):
  tmp_path.chmod(0o500)
  said = mistake(call(*of(tmp_path / 'workdir')))
  assert said == f'cannot write to --workdir={tmp_path / "workdir"}: Permission denied'


MACHINE = [
  (
    OSError(errno.ENOSPC, 'No space left on device', 'results.json'),
    'cannot write results.json: the disk is full; files written before',
  ),
  (
    ValueError('RESOURCE_EXHAUSTED: Error writing "a" [OS error 28: No space left on device]'),
    'cannot write a result: the disk is full',
  ),
  (
    RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 16 bytes.\nMore of it.'),
    'memory ran out (Out of memory allocating 16 bytes.): lower '
    'seqgan.rollout_block, seqgan.batch, detector.',
  ),
  (  # of a step on a CPU
    RuntimeError('INTERNAL: Error dispatching computation: Out of memory allocating 16 bytes.'),
    'memory ran out (Out of memory allocating 16 bytes.): lower',
  ),
  (MemoryError('Unable to allocate 16 TiB'), 'memory ran out (Unable to allocate 16 TiB): lower'),
]


@pytest.mark.parametrize(('error', 'said'), MACHINE)
def test_a_full_disk_and_a_full_memory_are_told_apart(call, tmp_path, monkeypatch, error, said):
  def fail(*arguments, **options):
    raise error

  monkeypatch.setattr(experiment, 'train', fail)
  assert mistake(call(*of(tmp_path / 'workdir'))).startswith(said)


def test_a_defect_keeps_its_traceback_and_exits_with_1(call, tmp_path, monkeypatch):
  monkeypatch.setattr(experiment, 'train', lambda *arguments: 1 / 0)
  code, _, err = call(*of(tmp_path / 'workdir'))
  assert code == 1 and 'Traceback' in err and 'ZeroDivisionError' in err


def test_an_array_that_no_machine_can_hold_is_out_of_memory():
  with pytest.raises(jax.errors.JaxRuntimeError) as raised:
    jnp.zeros(2**46, jnp.int8).block_until_ready()
  assert explain(raised.value).startswith(f'memory ran out (Out of memory allocating {2**46} bytes')


def test_another_config_in_the_workdir_is_refused_with_the_fields_that_differ(runs, call):
  said = mistake(call(*of(runs.finished('bgl')), '--config.seed=1', '--config.text.length=13'))
  assert (
    'holds a run with another config: data.simulated_seed is 0 there and 1 here; '
    'seed is 0 there and 1 here' in said
  )
  assert 'text.length is 12 there and 13 here' in said


def test_a_half_finished_run_is_not_evaluated(runs, call, tmp_path):
  workdir = tmp_path / 'workdir'
  shutil.copytree(runs.finished('bgl'), workdir)
  (workdir / 'detector' / 'fitted.json').unlink()
  assert 'holds no finished training' in mistake(call(*of(workdir), '--mode=evaluate'))
  assert not (workdir / 'detector' / 'fitted.json').exists()


@pytest.mark.parametrize(
  ('name', 'content', 'flags', 'said'),
  [
    ('config.json', '[]', (), '(list, not dict): choose another --workdir'),
    ('corpus.json', '{"rows": ', (), '(Expecting value: {}): choose another --workdir'),
    ('seconds.json', '{"rows": ', (), '(Expecting value: {}): remove it and run'),
    ('detector/fitted.json', '7', (), '(int, not dict): delete the folder {}/detector'),
    ('oversampler/summary.json', '{,}', ('--mode=evaluate',), 'delete the folder {}/oversampler'),
    ('encoder/encoder.json', '"abc"', ('--mode=generate',), '(str, not dict): run --mode'),
  ],
)
def test_a_damaged_file_of_the_workdir_is_named_with_what_to_do(
  runs, call, tmp_path, name, content, flags, said
):
  workdir = tmp_path / 'workdir'
  shutil.copytree(runs.finished('bgl'), workdir)
  (workdir / name).write_text(content)
  code, _, err = call(*of(workdir), *flags)
  last = err.splitlines()[-1]  # what is trained on may have been told before
  assert code == 2 and 'Traceback' not in err
  assert last.startswith(f'logjax: {workdir / name} is damaged (')
  where = workdir if 'delete' in said else 'line 1 column 10 (char 9)'
  assert said.format(where) in last


def test_checkpoints_that_a_kill_left_behind_a_finished_stage_are_removed(runs, call, tmp_path):
  workdir = tmp_path / 'workdir'
  shutil.copytree(runs.finished('bgl'), workdir)
  (workdir / 'unfinished' / 'gru').mkdir(parents=True)
  (workdir / 'unfinished' / 'gru' / '3.npz').write_bytes(b'a checkpoint')
  assert call(*of(workdir))[0] == 0
  assert not (workdir / 'unfinished').exists()


@pytest.mark.parametrize('name', ['seconds.json', 'detector/fitted.json'])
def test_what_is_said_about_a_damaged_file_helps(runs, call, tmp_path, name):
  workdir = tmp_path / 'workdir'
  shutil.copytree(runs.finished('bgl'), workdir)
  before = json.loads((workdir / 'results.json').read_text())['test']
  (workdir / name).write_text('{')
  said = call(*of(workdir))[2].splitlines()[-1]
  if 'delete the folder ' in said:
    shutil.rmtree(re.search('delete the folder (.*) and train again', said)[1])
  else:
    Path(re.search('^logjax: (.*) is damaged .*: remove it and run the same', said)[1]).unlink()
  assert call(*of(workdir))[0] == 0
  assert json.loads((workdir / 'results.json').read_text())['test'] == before


def test_generation_without_generators_is_refused(call, tmp_path):
  flags = (*of(tmp_path / 'workdir'), '--config.oversampler.name=none')
  assert call(*flags)[0] == 0
  said = mistake(call(*flags, '--mode=generate'))
  assert 'has no generators to sample from' in said
