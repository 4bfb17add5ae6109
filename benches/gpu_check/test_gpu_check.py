"""gpu-check with a fake program that misbehaves in every way, in every stage.

python3 -m unittest discover -s benches/gpu_check
"""

import concurrent.futures
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from fake_call import SCRIPT, Call

STAGES = "doctor hopper tiers sanitize verify golden train generate profile peer ncu tune".split()
# The variable that makes the program of a stage misbehave.
SUBJECT = {
    **dict.fromkeys(["hopper", "tiers", "sanitize", "verify", "golden"], "VERIFY"),
    **{stage: stage.upper() for stage in ("doctor", "train", "generate", "profile", "ncu", "tune")},
    "peer": "TORCH",
}
# Longer than any run of the fake program takes on a busy machine, but for those that sleep.
SHORT = 0.6


class Test(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = self.temporary.name

    def call(self, *arguments, **environment):
        return Call(self.folder, *arguments, **environment).run()

    def misbehaving(self, mode, stages=STAGES, apart=False, arguments=()):
        """Rows of each of `stages`, whose programs all misbehave in one way. `apart`: each in a call of its own."""

        def one(chosen):
            folder = pathlib.Path(self.folder) / f"{mode}-{chosen[0]}"
            folder.mkdir()
            faults = {f"FAKE_{SUBJECT[stage]}": mode for stage in chosen}
            return Call(folder, "--stages", ",".join(chosen), *arguments, FAKE_SHORT="1", **faults).run()

        found = []
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            groups = [[stage] for stage in stages] if apart else [stages]
            for chosen, call in zip(groups, pool.map(one, groups)):
                self.assertNotIn("Traceback", call.text)
                self.assertEqual(call.left_behind(), [])
                summary = json.loads((call.out / "summary.json").read_text())
                self.assertEqual(set(summary["stages"]), {"start", *chosen})
                found += [(stage, call, call.rows(stage)) for stage in chosen]
        return found

    def test_everything_passes(self):
        call = self.call("--precisions", "f32,tf32,bf16")
        self.assertEqual(call.status, 0, call.text)
        self.assertEqual(list(dict.fromkeys(row["stage"] for row in call.rows())), ["start", *STAGES])
        for row in call.rows()[1:]:
            self.assertIs(row["passed"], True, row)
            if "command" in row:
                self.assertEqual((row["status"], row["signal"], row["timed_out"]), (0, None, False))
                self.assertIn(row["command"][-1], (call.out / row["log"]).read_text())
        names = [row["name"] for row in call.rows("hopper")]
        self.assertEqual([name.split()[0] for name in names], ["list-hopper", "bf16", "bf16", "tf32", "tf32"])
        self.assertTrue(all(row["cap"] == 30 for row in call.rows("hopper")))
        tiers = [row["name"] for row in call.rows("tiers")]
        self.assertIn("hopper-f32-plain", tiers)
        self.assertFalse([name for name in tiers if "plain" in name and "f32" not in name])
        tools = {row["command"][2] for row in call.rows("sanitize") if row["command"][0] == "compute-sanitizer"}
        self.assertEqual(tools, {"memcheck", "racecheck", "synccheck"})
        summary = json.loads((call.out / "summary.json").read_text())
        self.assertEqual(summary["figures"]["profile step-bf16"]["spills"], {"k bf16": 8})
        self.assertEqual(call.left_behind(), [])

    def test_ratios_are_of_like_with_like(self):
        call = self.call("--stages", "peer")
        rows = {row["name"]: row["result"] for row in call.rows("peer")}
        ours = rows["generator-bf16"]
        # 0.01 s for two maps beside our 0.002 s; our time with the copy is not known.
        self.assertAlmostEqual(ours["without_copy"]["times_as_fast_as"]["eager f32"], 5.0)
        self.assertIsNone(ours["with_copy"])

    def test_sleeping(self):
        for stage, call, rows in self.misbehaving("sleep", apart=True, arguments=["--longest", SHORT]):
            stopped = [row for row in rows if row.get("timed_out")]
            self.assertTrue(stopped, rows)
            for row in stopped:
                self.assertIs(row["passed"], False)
                self.assertLess(row["seconds"], SHORT + 1)
                self.assertIn("timed out", row["error"])

    def test_deaf_to_sigterm(self):
        stages = ["golden", "doctor"]
        for stage, call, rows in self.misbehaving("stubborn", stages, arguments=["--longest", SHORT]):
            self.assertEqual({row["signal"] for row in rows if row.get("timed_out")}, {"SIGKILL"})

    def test_dying_by_a_signal(self):
        for stage, call, rows in self.misbehaving("signal"):
            failed = [row for row in rows if row["passed"] is False]
            # Under compute-sanitizer the tool sees the signal, and ends with a status of its own.
            self.assertTrue(failed, rows)
            if stage != "sanitize":
                self.assertIn("SIGSEGV", [row.get("signal") for row in failed])

    def test_exit_status_1(self):
        for stage, call, rows in self.misbehaving("exit1"):
            failed = [row for row in rows if row["passed"] is False and row.get("status") == 1]
            self.assertTrue(failed, rows)
            self.assertIn("error 700", failed[0]["error"])
            self.assertIn("error 700", (call.out / failed[0]["log"]).read_text())

    def test_garbage_nothing_half_a_file_and_other_json(self):
        for mode in ("garbage", "nothing", "half", "types"):
            # doctor writes no file, and files of maps and tables of tilings hold no rows.
            without = {"doctor"} | ({"generate", "tune", "ncu"} if mode == "types" else set())
            stages = [stage for stage in STAGES if stage not in without]
            for stage, call, rows in self.misbehaving(mode, stages):
                failed = [row for row in rows if row["passed"] is False]
                self.assertTrue(failed, (mode, rows))
                self.assertTrue(all(row["error"] for row in failed))
                # The row is that of the run, and its output is kept.
                self.assertIn("log", failed[0])

    def test_a_file_of_an_earlier_run_is_not_read(self):
        call = self.call("--stages", "verify,golden", FAKE_VERIFY="nothing", FAKE_ONLY="--reference")
        self.assertEqual([call.rows(stage)[0]["passed"] for stage in ("verify", "golden")], [True, False])

    def test_a_process_left_running_is_ended(self):
        for mode in ("child", "session"):
            for stage, call, rows in self.misbehaving(mode):
                self.assertTrue(all(row["passed"] for row in rows), rows)

    def test_wrong_results(self):
        stages = ["hopper", "tiers", "sanitize", "verify", "golden", "train"]
        for stage, call, rows in self.misbehaving("wrong", stages):
            failed = [row for row in rows if row["passed"] is False]
            self.assertTrue(failed, rows)
            if stage in ("hopper", "tiers"):
                again = [row for row in rows if row.get("environment") == {"COSMOGAN_SYNC": "1"}]
                self.assertTrue(again and all("-sync" in row["name"] for row in again))
            if stage == "hopper":
                self.assertIn("conv_dgrad_hopper", failed[0]["error"])
            if stage == "train":
                self.assertIn("losses-bf16 on beside off", [row["name"] for row in failed])

    def test_tools_that_fail(self):
        call = self.call("--stages", "sanitize", FAKE_SANITIZER="wrong")
        self.assertTrue(all("3 errors" in row["error"] for row in call.rows("sanitize") if row["passed"] is False))
        self.assertEqual(call.status, 1)
        for mode in ("sleep", "signal", "nothing"):
            out = f"{self.folder}/{mode}"
            longest = ["--longest", SHORT / 2] if mode == "sleep" else []
            call = self.call("--stages", "sanitize", *longest, "--out", out, FAKE_SANITIZER=mode, FAKE_SHORT="1")
            self.assertEqual(call.left_behind(), [])
            self.assertEqual(call.status, 1)
        unsupported = Call(self.folder, "--stages", "sanitize,doctor", FAKE_SANITIZER="unsupported")
        unsupported.out = pathlib.Path(self.folder) / "unsupported"
        unsupported.command += ["--out", str(unsupported.out)]
        rows = unsupported.run().rows("sanitize")
        self.assertIn("does not support", rows[-1]["skipped"])
        self.assertEqual(len(rows), 3)

    def test_a_machine_without_git_and_tools(self):
        call = self.call("--stages", "doctor,sanitize,ncu", path="/nonexistent")
        self.assertEqual(call.rows()[0]["commit"], "unknown")
        self.assertIn("not on the path", call.rows("sanitize")[0]["skipped"])
        self.assertIsNone(call.rows("doctor")[1]["passed"])
        self.assertEqual(call.status, 0, call.text)
        self.assertEqual(self.call("--stages", "doctor", "--commit", "abc").rows()[-3]["commit"], "abc")

    def test_a_missing_binary(self):
        call = self.call("--binary", "/nonexistent/cosmogan")
        self.assertNotIn("Traceback", call.text)
        self.assertEqual({row["stage"] for row in call.rows() if row["passed"] is False}, set(STAGES))

    def test_a_broken_list_costs_its_stages(self):
        call = self.call("--stages", "hopper,tiers,sanitize,golden", FAKE_LIST="garbage")
        self.assertTrue(all(row["passed"] for row in call.rows("golden")))
        for stage in ("hopper", "tiers", "sanitize"):
            self.assertIn("StageFailed", call.rows(stage)[-1]["error"])

    def test_hangs_one_after_the_other_end_a_group(self):
        lines = [f"linear rows={rows} inputs=1 outputs=1 seed=1" for rows in range(6)]
        call = Call(self.folder, "--stages", "hopper", "--longest", 0.5, FAKE_VERIFY="sleep")
        program = call.bin / "cosmogan"
        program.write_text(program.read_text().replace("HOPPER = [", f"HOPPER = {lines} + ["))
        rows = call.run().rows("hopper")
        self.assertEqual(len([row for row in rows if row.get("timed_out")]), 6)
        self.assertIn("3 cases in a row timed out", rows[-1]["skipped"])

    def test_one_case_of_a_group_that_kills_the_process(self):
        # Alone, the first case passes and the second dies.
        call = self.call("--stages", "tiers", FAKE_VERIFY="signal", FAKE_ONLY="outputs=264")
        self.assertEqual(call.status, 0)
        call = self.call("--stages", "tiers", FAKE_VERIFY="signal", FAKE_ONLY="tiled")
        names = [row["name"] for row in call.rows("tiers") if row["passed"] is False]
        self.assertEqual(len(names), 3, names)

    def test_budget(self):
        call = self.call("--budget", "150")
        dropped = [row["stage"] for row in call.rows() if "dropped" in str(row.get("skipped"))]
        self.assertEqual(dropped, STAGES[-len(dropped) :])
        self.assertTrue(0 < len(dropped) < len(STAGES))
        self.assertIn("sanitize", call.text)

    def test_budget_that_runs_out_in_a_stage(self):
        call = self.call("--stages", "golden,hopper", "--budget", 2, FAKE_VERIFY="sleep")
        self.assertLess(call.seconds, 6)
        self.assertTrue(call.rows("golden")[0]["cut_by_budget"])
        self.assertIn("dropped", call.rows("hopper")[0]["skipped"])

    def test_stages_in_separate_calls(self):
        for stage in STAGES:
            call = self.call("--stages", stage)
            self.assertEqual(call.status, 0, call.text)
        makes = [row["name"] for row in call.rows() if row["name"].startswith("make-")]
        # Found in the work folder by every later stage.
        self.assertEqual(sorted(makes), ["make-maps-8", "make-networks"])
        numbers = [row["number"] for row in call.rows()]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

        def without_others(stage):
            folder = pathlib.Path(self.folder, stage)
            folder.mkdir()
            return Call(folder, "--stages", stage).run()

        # And made on a machine that has nothing.
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for call in pool.map(without_others, STAGES):
                self.assertEqual(call.status, 0, call.text)

    def test_files_under_out_are_few(self):
        call = Call(self.folder, "--stages", "doctor,profile,train", OUT=self.folder + "/O", TMPDIR=self.folder)
        at = call.command.index("--out")
        del call.command[at : at + 2]
        call.run()
        files = [path for path in pathlib.Path(self.folder, "O").rglob("*") if path.is_file()]
        self.assertEqual(sorted(path.name for path in files), ["logs.txt", "results.jsonl", "summary.json"])
        self.assertIn("==== 002-doctor-doctor", files[0].parent.joinpath("logs.txt").read_text())

    def test_broken_results(self):
        call = self.call("--stages", "doctor,profile")
        path = call.out / "results.jsonl"
        text = path.read_text()
        odd = '{"stage": 3, "passed": false}\n{"stage": "ncu", "result": 7}\n[]\nnull\n'
        path.write_text("garbage\n" + odd + text[:-40])
        made = subprocess.run([sys.executable, SCRIPT, "--summarise", call.out], capture_output=True, text=True)
        self.assertNotIn("Traceback", made.stderr)
        summary = json.loads((call.out / "summary.json").read_text())
        self.assertEqual(summary["broken_lines"], 4)
        self.assertEqual(summary["stages"]["doctor"]["passed"], 2)
        # A later call begins a line of its own.
        self.call("--stages", "doctor", "--commit", "later")
        self.assertEqual(json.loads(path.read_text().splitlines()[-3])["commit"], "later")

    def test_being_stopped(self):
        call = Call(self.folder, "--stages", "golden", FAKE_VERIFY="sleep")
        process = subprocess.Popen(call.command, env=call.environment, stdout=subprocess.DEVNULL)
        while not any("gpu-check" not in line for line in call.left_behind()):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 143)
        self.assertEqual(call.left_behind(), [])
        self.assertIn("gpu-check was stopped", call.rows("golden")[0]["error"])


if __name__ == "__main__":
    unittest.main()
