"""Plans that are simulated whole: candidates, their values, and what no plan can undercut."""
