"""Writing is all or nothing: faults at every operation and all along the file, full disks, killed processes."""

import errno
import importlib.util
import os
import runpy
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from models import EXAMPLES
from table import walk

import numpylstm as nl
from numpylstm import atomic, load
from numpylstm.atomic import check_replaceable, replacing, replacing_all, write_file

pytestmark = pytest.mark.nojit
UNIX = pytest.mark.skipif(os.name == "nt", reason="rights, links, limits and signals as Unix has them")

OLD, NEW = b"old", b"new and longer" * 1000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def write(path, data=NEW):
    with replacing(path) as stream:
        stream.write(data)


def assert_nothing_lost(path, content=OLD):
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_the_new_file_takes_the_place_of_the_old(path):
    write(path)
    assert_nothing_lost(path, NEW)
    write(path.with_name("other"))
    assert sorted(os.listdir(path.parent)) == ["file", "other"]


@walk("error", (ValueError("of the block"), KeyboardInterrupt(), SystemExit()))
def test_whatever_the_block_raises(path, error):
    with pytest.raises(type(error)), replacing(path) as stream:
        stream.write(NEW)
        raise error
    assert_nothing_lost(path)


def test_a_folder_that_cannot_be_read_is_written_to(path, monkeypatch):
    """One like a letter box, that is; root reads any, so the system's answer is played."""
    real = os.open

    def refused(name, flags, *mode, **options):
        if os.path.isdir(name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return real(name, flags, *mode, **options)

    monkeypatch.setattr(atomic.os, "open", refused)
    write(path)
    monkeypatch.undo()
    assert_nothing_lost(path, NEW)


def test_a_name_must_be_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError), replacing(""):
        pass
    assert os.listdir(tmp_path) == []


@UNIX
def test_a_relative_name_in_a_current_folder_that_is_gone_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(FileNotFoundError, match="^--plot must be in a folder that exists, got 'x.png'$"):
        check_replaceable("x.png", "--plot")
    with pytest.raises(FileNotFoundError, match="'x.st'$"):
        write_file("x.st", NEW)
    check_replaceable(tmp_path / "x.st")  # from the root of the file system on nothing is missing


@UNIX
def test_what_is_no_regular_file_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(pipe, OLD)
        assert os.read(reader, 100) == OLD and stat.S_ISFIFO(os.stat(pipe).st_mode)
    finally:
        os.close(reader)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_device_that_takes_nothing_is_named():
    with pytest.raises(OSError, match="No space left.*/dev/full"):
        write_file("/dev/full", NEW)


def test_a_whole_file_is_written_or_nothing(path, monkeypatch):
    failing(monkeypatch, "fsync")
    with pytest.raises(OSError, match="planted"):
        write_file(path, NEW)
    monkeypatch.undo()
    assert_nothing_lost(path)
    write_file(path, NEW)
    assert_nothing_lost(path, NEW)


@walk("name, call", [*((name, call) for name in ("open", "fsync") for call in (1, 2, 3)), ("replace", 1)])
def test_of_several_files_none_is_replaced_before_all_are_whole(tmp_path, monkeypatch, name, call):
    paths = [tmp_path / letter for letter in "abc"]
    for one in paths:
        one.write_bytes(OLD)

    def write_all():
        with replacing_all(paths) as streams:
            for stream in streams:
                stream.write(NEW)

    failing(monkeypatch, name, call)
    with pytest.raises(OSError, match="planted"):
        write_all()
    monkeypatch.undo()
    assert [one.read_bytes() for one in paths] == 3 * [OLD]
    write_all()
    assert [one.read_bytes() for one in paths] == 3 * [NEW]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_of_several_files_none_is_named_that_may_not_be_the_one(tmp_path):
    with (
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught,
        replacing_all([tmp_path / "a", tmp_path / "b"]),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename is None


def failing(monkeypatch, name, call=1):
    """Make the `call`-th call of a function of os, or of open, fail as a broken disk does; return how many came."""
    module = atomic if name == "open" else os
    real, calls = open if name == "open" else getattr(os, name), []

    def fake(*args, **options):
        calls.append(args)
        if len(calls) == call:
            raise OSError(errno.EIO, "planted")
        return real(*args, **options)

    monkeypatch.setattr(module, name, fake, raising=name != "open")
    return calls


BEFORE = [("open", 1), ("stat", 1), ("fchmod", 1), ("fsync", 1), ("replace", 1)]
AFTER = [("fsync", 2)]  # the folder's: the new file is in its place, and is whole


@UNIX
@walk("there", (True, False))
@walk("name, call", BEFORE + AFTER)
def test_every_operation_may_fail(path, name, call, there, monkeypatch):
    if not there:
        path.unlink()
    calls = failing(monkeypatch, name, call)
    if name == "fchmod" and not there:
        write(path)  # there is no mode to take over
        assert not calls
        return
    with pytest.raises(OSError, match="planted"):
        write(path)
    monkeypatch.undo()
    assert len(calls) >= call
    if (name, call) in AFTER:
        assert_nothing_lost(path, NEW)
    elif there:
        assert_nothing_lost(path)
    else:
        assert os.listdir(path.parent) == []


@UNIX
def test_these_are_all_the_operations(path, monkeypatch):
    """os.fsync and the others are called in the one order that is safe."""
    order = []
    for name in ("open", "stat", "fchmod", "fsync", "replace", "unlink", "rename", "link", "remove", "truncate"):
        real = open if name == "open" else getattr(os, name)
        module = atomic if name == "open" else os

        def spy(*args, real=real, name=name, **options):
            order.append(name)
            return real(*args, **options)

        monkeypatch.setattr(module, name, spy, raising=name != "open")
    write(path)
    assert [name for name in order if name != "stat"] == ["open", "fchmod", "fsync", "replace", "fsync"]


@UNIX
def test_the_error_that_came_first_is_told_where_cleaning_up_fails_too(path, monkeypatch):
    failing(monkeypatch, "replace")

    def broken(*args):
        raise OSError("cleaning up")

    monkeypatch.setattr(os, "unlink", broken)
    with pytest.raises(OSError, match="planted"):
        write(path)
    assert path.read_bytes() == OLD


@UNIX
def test_a_file_system_that_cannot_sync_a_folder(path, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no sync of folders")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write(path)
    assert_nothing_lost(path, NEW)


@UNIX
@walk("twentieth", range(20))
def test_a_model_on_a_disk_that_is_full_after_so_many_bytes(twentieth, tmp_path):
    """The operating system itself refuses a byte: a limit on the size of files stands for the disk."""
    resource = pytest.importorskip("resource")
    path, example = tmp_path / "model", EXAMPLES["encoder-decoder"]
    example.fitted().save(path)
    old, new = path.read_bytes(), example.fitted(hidden_size=60)
    new.save(tmp_path / "whole")
    size = (tmp_path / "whole").stat().st_size
    os.unlink(tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * twentieth // 20, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            new.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(path)
    assert_nothing_lost(path, old)
    assert load(path).hidden_size == 4


@walk("twentieth", range(20))
def test_no_space_left(path, twentieth, monkeypatch):
    class Full:
        """A file on a disk with room for a part of the data."""

        def __init__(self, stream):
            self.stream, self.left = stream, len(NEW) * twentieth // 20

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.stream.close()

        def write(self, data):
            self.stream.write(data[: self.left])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "open", lambda *args: Full(open(*args)), raising=False)
    with pytest.raises(OSError, match=f"{os.strerror(errno.ENOSPC)}: '{path}'"):
        write(path)
    assert_nothing_lost(path)


DYING = """
import os, runpy, signal, sys
source, path, moment = sys.argv[1:]
die = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
if moment == "before fsync":
    os.fsync = die
if moment == "before replace":
    os.replace = die
if moment == "after replace":
    replace = os.replace
    os.replace = lambda *args: (replace(*args), die())
data = b"new and longer" * 1000
cut = int(moment) if moment.isdigit() else len(data)
with runpy.run_path(source)["replacing"](path) as stream:
    stream.write(data[:cut])
    stream.flush()
    if moment.isdigit():
        die()
    stream.write(data[cut:])
"""


@UNIX
@walk("moment", [*range(0, 14_000, 700), "before fsync", "before replace", "after replace"])
def test_a_process_killed_in_the_middle(path, moment):
    ended = subprocess.run([sys.executable, "-S", "-c", DYING, atomic.__file__, path, str(moment)])
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == (NEW if moment == "after replace" else OLD)
    rest = set(os.listdir(path.parent)) - {"file"}
    assert all(name.startswith(".file.") and name.endswith(".tmp") for name in rest)
    assert len(rest) == (moment != "after replace")
    write(path, b"next")  # what is left over is in nobody's way
    assert path.read_bytes() == b"next"


SAVING = """
import sys
import numpylstm as nl
path, models = sys.argv[1], [nl.load(path) for path in sys.argv[2:]]
print("ready", flush=True)
while True:
    for model in models:
        model.save(path)
"""


@UNIX
def test_a_process_killed_while_it_saves_models(tmp_path):
    path, sources = tmp_path / "model", [tmp_path / "a", tmp_path / "b"]
    expected = []
    for source, hidden_size in zip(sources, (4, 100), strict=True):
        model = EXAMPLES["encoder-decoder"].fitted(hidden_size=hidden_size)
        model.save(source)
        expected.append(model.network_.parameters.values)
    model.save(path)
    for pause in (0.0371,):
        child = subprocess.Popen([sys.executable, "-c", SAVING, path, *sources], stdout=subprocess.PIPE, text=True)
        with child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(pause)
            child.kill()
        values = load(path).network_.parameters.values
        assert any(len(one) == len(values) and np.array_equal(one, values) for one in expected)


class TestPlaces:
    @UNIX
    @walk("mode", (0o600, 0o640, 0o666, 0o4755))
    def test_the_mode_of_the_old_file_stays(self, path, mode):
        path.chmod(mode)
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode & 0o777

    @UNIX
    def test_the_owner_of_the_old_file_stays_where_the_system_lets_it(self, path, monkeypatch):
        given, status = [], path.stat()
        real = os.stat

        def other(place, **options):
            if os.fspath(place) != str(path):
                return real(place, **options)
            fields = list(status)
            fields[4] += 1
            return os.stat_result(fields)

        monkeypatch.setattr(os, "stat", other)
        monkeypatch.setattr(os, "fchown", lambda handle, user, group: given.append((user, group)))
        write(path)
        assert given == [(status.st_uid + 1, status.st_gid)]

        def refused(*args):
            raise PermissionError

        monkeypatch.setattr(os, "fchown", refused)
        write(path, b"all the same")
        assert path.read_bytes() == b"all the same"

    @UNIX
    @walk("umask, mode", ((0o022, 0o644), (0o077, 0o600)))
    def test_the_mode_of_a_new_file_is_as_the_umask_says(self, path, umask, mode):
        path.unlink()
        before = os.umask(umask)
        try:
            write(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == mode

    @UNIX
    def test_a_link_stays_a_link(self, path, tmp_path):
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        link = folder / "link"
        link.symlink_to("../file")
        write(link)
        assert link.is_symlink() and path.read_bytes() == NEW
        assert os.listdir(folder) == ["link"]
        path.unlink()
        write(link, b"again")  # a link to what is not there yet
        assert link.is_symlink() and path.read_bytes() == b"again"

    @UNIX
    def test_a_link_in_a_circle(self, tmp_path):
        link = tmp_path / "link"
        link.symlink_to("link")
        with pytest.raises(OSError):
            write(link)
        assert link.is_symlink()

    @UNIX
    def test_a_pipe_or_a_device_is_no_place_for_a_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")  # rather than a device, which the administrator would lose if it were replaced
        with pytest.raises(OSError, match="not a regular file"):
            write(tmp_path / "pipe")
        assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)

    def test_a_folder_is_none_either(self, tmp_path):
        with pytest.raises(IsADirectoryError):
            write(tmp_path)
        assert os.listdir(tmp_path) == []

    @UNIX
    @walk("name", ("日" * 85, "é" * 127, "n" * 255))
    def test_a_name_may_be_as_long_as_the_system_takes(self, name, tmp_path):
        write(tmp_path / name)
        assert_nothing_lost(tmp_path / name, NEW)

    @walk("name", ("日" * 85, "é" * 127, "n" + "é" * 127))
    def test_a_temporary_name_ends_with_a_whole_character(self, name):
        atomic._temporary(Path(name)).name.encode()  # Windows and macOS have no other names

    @UNIX
    @walk(
        "name, error, said",
        (
            ("none/file", FileNotFoundError, "must be in a folder that exists"),
            ("folder", IsADirectoryError, "must be a file, got the folder"),
            ("new/", IsADirectoryError, "must be a file, got the folder"),
            ("link", IsADirectoryError, "must be a file, got the folder"),
            ("pipe", OSError, "must be a file that can be replaced, got '.*pipe': not a regular file"),
            ("protected", PermissionError, "must be a file that can be replaced, got '.*protected': Permission"),
            ("locked/file", PermissionError, "must be in a folder that can be written to"),
        ),
    )
    def test_what_cannot_be_replaced_is_told_before(self, name, error, said, tmp_path, monkeypatch):
        for folder in ("folder", "locked"):
            (tmp_path / folder).mkdir()
        (tmp_path / "link").symlink_to("folder")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "protected").touch()
        real = os.access  # the superuser may write everywhere

        def access(place, mode):
            return os.path.basename(place) not in ("protected", "locked") and real(place, mode)

        monkeypatch.setattr(os, "access", access)
        for good in ("file", "folder/file"):
            check_replaceable(tmp_path / good)
        with pytest.raises(error, match=f"what {said}"):
            check_replaceable(f"{tmp_path}/{name}", "what")

    @UNIX
    @walk("name", ("none/file", "n" * 300, ".", "folder", "link", "pipe"))
    def test_the_error_tells_the_name_that_was_given(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        os.mkdir("folder")
        if name == "link":
            os.symlink("none/file", "link")
        if name == "pipe":
            os.mkfifo("pipe")
        for given in (name, os.path.join("folder", os.pardir, name), tmp_path / name):
            with pytest.raises(OSError) as caught:
                write(given)
            assert caught.value.filename == os.fspath(given) and repr(os.fspath(given)) in str(caught.value)
            assert ".tmp" not in str(caught.value)

    @UNIX
    def test_so_it_does_where_the_last_operation_fails(self, path, monkeypatch):
        real = os.replace

        def replace(old, new):
            os.unlink(old)
            real(old, new)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(FileNotFoundError) as caught:
            write(path)
        assert (caught.value.filename, caught.value.filename2) == (str(path), None)
        assert_nothing_lost(path)

    def test_an_error_of_the_block_keeps_its_own_name(self, path):
        with pytest.raises(FileNotFoundError, match="another"), replacing(path):
            open("another")

    @walk("name", ("new/", "file/", "folder/", "new/.", "new//"))
    def test_a_name_that_ends_as_a_folder_s(self, path, name):
        with pytest.raises(OSError):
            open(f"{path.parent}/{name}", "wb")
        (path.parent / "folder").mkdir()
        with pytest.raises(IsADirectoryError, match=name):
            write(f"{path.parent}/{name}")
        assert path.read_bytes() == OLD and sorted(os.listdir(path.parent)) == ["file", "folder"]

    @pytest.mark.parametrize("name", ["new/", "new/."])
    def test_whoever_writes_refuses_a_folder_s_name(self, tmp_path, name):
        example, layer, name = EXAMPLES["regressor"], nl.RNN(2, 3), f"{tmp_path}/{name}"
        fitted = example.fitted()
        writers = [
            lambda: fitted.save(name),
            lambda: example.make().fit(example.X, example.y, checkpoint=name),
            lambda: nl.save_checkpoint(name, nl.Parameters(layer), nl.SGD()),
            lambda: nl.interop.write_safetensors(name, layer.params),
        ]
        if importlib.util.find_spec("onnx"):
            writers.append(lambda: nl.interop.to_onnx(layer, name))
        for writer in writers:
            with pytest.raises(IsADirectoryError, match="new/"):
                writer()
        assert os.listdir(tmp_path) == []

    def test_a_write_protected_file_stays(self, path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write to all there are
        with pytest.raises(PermissionError):
            write(path)
        monkeypatch.undo()
        assert_nothing_lost(path)

    def test_the_longest_name_there_is(self, tmp_path):
        path = tmp_path / ("n" * 255)
        write(path)
        assert_nothing_lost(path, NEW)

    def test_atomic_needs_nothing_of_the_package(self):
        assert "replacing" in runpy.run_path(atomic.__file__)
