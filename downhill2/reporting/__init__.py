"""What people see of runs: progress, pictures, reports, trackers."""
