"""What the exit code of a command says, beside 0."""

# The input was wrong.
MISTAKE = 2
# EX_UNAVAILABLE of sysexits.h: another process was lost, and with it the run until it is restarted.
LOST = 69
# EX_TEMPFAIL of sysexits.h: the command may be started again and will resume.
RESUMABLE = 75
# What a shell says of a command that Ctrl-C ended.
INTERRUPTED = 130
