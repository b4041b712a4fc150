"""Devices and the replicas on them: types, steps, their order, placement.

Pure; shared by planner, controller and fleet.
"""
