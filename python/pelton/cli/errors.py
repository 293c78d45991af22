"""What a command says when it cannot do what it was asked."""


class CommandError(Exception):
    """Ends the command with one line on stderr and an exit code, without a traceback.

    `message` says what is wrong and what to do. `code` is 2 where the caller asked for something
    that cannot be (a wrong APP, a wrong value), 1 where the surroundings are at fault (a port in
    use, a broker that does not answer).
    """

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
