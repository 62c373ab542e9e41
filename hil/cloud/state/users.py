"""People and their access tokens (cloud API fact sheet 2.1: 40 hex digits, 90 days by default)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from hil.cloud.state.store import Row, Store
from hil.errors import Refused

TOKEN_LIFETIME = 7_776_000  # seconds: 90 days
HARNESS_CLIENT = (
    "hil cloud"  # the client of tokens that the harness made for itself; nobody else may ask for it
)
REFRESH_LIFETIME = 1_209_600  # seconds: 14 days
FORGOTTEN_AFTER = TOKEN_LIFETIME  # seconds that an ended token is still told from an unknown one

_SCHEMA = (
    """
    CREATE TABLE users (name TEXT PRIMARY KEY, salt BLOB, password BLOB, created_at REAL NOT NULL);
    CREATE TABLE tokens (
        token TEXT PRIMARY KEY, refresh_token TEXT UNIQUE, user TEXT NOT NULL REFERENCES users(name),
        created_at REAL NOT NULL, expires_at REAL, client TEXT NOT NULL
    );
    CREATE INDEX tokens_of_user ON tokens(user)
    """,
    "CREATE INDEX tokens_by_end ON tokens(expires_at)",
)


@dataclass(frozen=True, slots=True)
class User:
    """An account. ``name`` is also what devices carry as their owner."""

    name: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Times are seconds since 1970; ``expires_at`` is ``None`` when it never ends."""

    token: str
    refresh_token: str
    user: str
    created_at: float
    expires_at: float | None
    client: str

    def expired(self, now: float) -> bool:
        """Whether it has ended at ``now``."""
        return self.expires_at is not None and self.expires_at <= now


class Users:
    """Accounts and tokens in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.migrate("users", _SCHEMA)

    def create(self, name: str, password: str) -> User:
        """A new account. One made by :meth:`ensure` gets its password here. ``Refused`` when it exists."""
        salt = secrets.token_bytes(16)
        with self._store.transaction():
            self.ensure(name)
            changed = self._store.change(
                "UPDATE users SET salt=?, password=? WHERE name=? AND password IS NULL",
                salt,
                _derive(password, salt),
                name,
            )
        if not changed:
            raise Refused(f"user {name} already exists", hint="choose another name, or change the password")
        return self._require(name)

    def ensure(self, name: str) -> User:
        """The account ``name``, made without a password when it is new: it can hold tokens, not log in."""
        self._store.execute(
            "INSERT OR IGNORE INTO users VALUES (?, NULL, NULL, ?)", _checked(name), self._store.now()
        )
        return self._require(name)

    def set_password(self, name: str, password: str) -> None:
        """Give an existing account a new password."""
        salt = secrets.token_bytes(16)
        self._store.change(
            "UPDATE users SET salt=?, password=? WHERE name=?", salt, _derive(password, salt), name
        )

    def get(self, name: str) -> User | None:
        """The account called ``name``."""
        row = self._store.one("SELECT * FROM users WHERE name=?", name)
        return User(row["name"], row["created_at"]) if row else None

    def authenticate(self, name: str, password: str) -> User | None:
        """The account when the password is right, else ``None``: later, but as late for a name that is not there.

        It takes milliseconds of processor time and no lock: call it from another thread where others wait.
        """
        row = self._store.one("SELECT * FROM users WHERE name=? AND password IS NOT NULL", name)
        salt, expected = (row["salt"], row["password"]) if row else (bytes(16), bytes(32))
        right = hmac.compare_digest(expected, _derive(password, salt))
        return User(row["name"], row["created_at"]) if row and right else None

    def issue_token(self, user: User | str, expires_in: int | None = None, *, client: str = "hil") -> Token:
        """A new token. ``expires_in`` in seconds; ``None`` means 90 days, 0 means it never ends."""
        name = user if isinstance(user, str) else user.name
        now = self._store.now()
        lifetime = TOKEN_LIFETIME if expires_in is None else expires_in
        token = Token(
            secrets.token_hex(20),
            secrets.token_hex(20),
            name,
            now,
            now + lifetime if lifetime else None,
            client,
        )
        # One that could be refreshed no more and has ended long ago: nobody even asks why it is refused.
        self._store.execute("DELETE FROM tokens WHERE expires_at < ?", now - FORGOTTEN_AFTER)
        self._store.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)",
            token.token,
            token.refresh_token,
            token.user,
            token.created_at,
            token.expires_at,
            token.client,
        )
        return token

    def refresh(self, refresh_token: str, expires_in: int | None = None) -> Token | None:
        """A new token for a refresh token that is not too old; the old token ends."""
        row = self._store.one("SELECT * FROM tokens WHERE refresh_token=?", refresh_token)
        if row is None or row["created_at"] + REFRESH_LIFETIME < self._store.now():
            return None
        with self._store.transaction():
            self.revoke(row["token"])
            return self.issue_token(row["user"], expires_in, client=row["client"])

    def user_for_token(self, token: str) -> User | None:
        """Whose token this is; ``None`` when it is unknown or has ended."""
        info = self.token_info(token)
        return None if info is None or info.expired(self._store.now()) else self.get(info.user)

    def token_info(self, token: str) -> Token | None:
        """What is known of a token, ended or not."""
        row = self._store.one("SELECT * FROM tokens WHERE token=?", token)
        return _token(row) if row else None

    def tokens_of(self, user: User) -> list[Token]:
        """All tokens of an account, oldest first."""
        rows = self._store.query("SELECT * FROM tokens WHERE user=? ORDER BY created_at", user.name)
        return [_token(row) for row in rows]

    def revoke_all(self, user: User) -> None:
        """End all tokens of an account but the harness's own: scripts and commands hold on to that one."""
        self._store.change("DELETE FROM tokens WHERE user=? AND client<>?", user.name, HARNESS_CLIENT)

    def revoke(self, token: str) -> bool:
        """End a token. False when there was none."""
        return self._store.change("DELETE FROM tokens WHERE token=?", token) > 0

    def _require(self, name: str) -> User:
        user = self.get(name)
        assert user is not None, "the caller has just made this account"
        return user


def _token(row: Row) -> Token:
    return Token(
        *(row[key] for key in ("token", "refresh_token", "user", "created_at", "expires_at", "client"))
    )


def _checked(name: str) -> str:
    if not name or len(name) > 254:
        raise Refused("not a user name", expected="1 to 254 characters", found=repr(name))
    return name


def _derive(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1, dklen=32)
