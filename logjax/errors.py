"""The one exception whose message is meant for the user."""


class LogjaxError(Exception):
  """A mistake that the user can mend: one line with what is wrong, where, and what to do.

  `main.py` prints the message without a traceback and exits with status 2. Anything else that
  escapes is a defect of logjax and keeps its traceback.
  """
