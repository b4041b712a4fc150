"""What the planner's parts are worth: how fast the simulator is, and how right."""
