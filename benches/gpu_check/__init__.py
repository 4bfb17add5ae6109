"""Checks and measures a prebuilt `cosmogan` on a machine with a GPU. docs/gpu-day.md has the commands.

options    command line, and sizes for each kind of device
plan       estimated seconds of each stage, and which stages fit into the budget
process    one bounded run of a program
journal    results.jsonl and the logs
check      state that stages share: devices, case lists, files that are found or made
correct    stages that check results
measure    stages that measure time
peer       comparison with PyTorch
summary    summary.json and the printed table, from results.jsonl alone
"""
