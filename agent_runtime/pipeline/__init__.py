"""What every request passes, once, whatever its protocol: one file per stage, put in order in compose.py."""
