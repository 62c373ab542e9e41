// The probe for real boards. CONTRACT.md in the folder above binds it and its twin for virtual boards.
// Device OS API 2.3 to 6.2. Build it with Particle's own tools; firmware/README.md has the command.

#include "Particle.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <vector>

#ifndef HIL_BUILD
#define HIL_BUILD "0000000000000000"  // 16 hex digits; the build command sets them
#endif
#ifndef HIL_VERSION
#define HIL_VERSION 1
#endif

#define HIL_TEXT_(value) #value
#define HIL_TEXT(value) HIL_TEXT_(value)

SYSTEM_THREAD(ENABLED);
SYSTEM_MODE(AUTOMATIC);
STARTUP(System.enableFeature(FEATURE_RETAINED_MEMORY));  // Gen 2 keeps no backup RAM without it

// The harness finds these two lines in the image and compares them with what `info` answers. The code below uses
// them: what nothing refers to, the linker leaves out.
__attribute__((used)) static const char kImageName[] = "HIL-APP:probe@" HIL_TEXT(HIL_VERSION) "\n";
__attribute__((used)) static const char kImageBuild[] = "HIL-BUILD:" HIL_BUILD "\n";

namespace {

constexpr int kPage = 8;
constexpr size_t kLineMax = 4096;
constexpr size_t kNameMax = 64;
constexpr int kTtlMax = 16777215;
constexpr double kSleepMax = 86400;
constexpr size_t kBuildAt = sizeof("HIL-BUILD:") - 1;
constexpr size_t kBuildSize = 16;
constexpr size_t kMaxSubscriptions = 4;
constexpr size_t kToldMax = 64;        // bytes of a name in a log line
constexpr uint32_t kGreetAfterMs = 100;  // what comes before a host has set its port up may be thrown away there
constexpr int kNotSupported = -120;
constexpr int kLimitExceeded = -200;
constexpr int kInvalidState = -210;
constexpr int kInvalidArgument = -270;

// Collects a reply of any length.
class Reply: public JSONWriter {
public:
    std::vector<char> data;

protected:
    void write(const char* text, size_t size) override {
        data.insert(data.end(), text, text + size);
    }
};

struct Record {
    String name;
    String data;
};

struct Answer {
    String name;
    bool length;
    int value;
};

struct Value {
    String name;
    String kind;
    bool flag;
    int number;
    double ratio;
    String text;
};

struct Sent {
    bool refused;
    particle::Future<bool> future;
};

retained uint32_t retainedMagic;
retained uint32_t retainedBoots;
uint32_t boots = 1;

std::vector<Sent> sent;
std::vector<Record> events;
std::vector<Record> calls;
std::vector<Answer*> answers;  // never freed: Device OS keeps the handlers for good
std::vector<Value*> values;
size_t subscriptions = 0;
String line;
bool lineTooLong = false;

enum class Later { NONE, RESET, SAFE_MODE, SLEEP, CONNECT, DISCONNECT };
Later later = Later::NONE;
uint32_t laterAt = 0;
uint32_t sleepMs = 0;

bool portOpen = false;
bool greeted = false;
uint32_t openedAt = 0;
bool toldOnline = false;

// One log line. It never waits for room: a host that has the port open and reads nothing holds nothing up.
void narrate(const String& text) {
    if (Serial.isConnected() && Serial.availableForWrite() >= (int)text.length() + 9) {
        Serial.printf("probe: %s\r\n", text.c_str());
    }
}

// A name as a log line shows it: short, and without what moves a cursor.
String told(const char* name) {
    String text;
    for (const char* at = name; *at != 0 && text.length() < kToldMax; ++at) {
        text += (unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at;
    }
    return text;
}

void greet() {
    const char* version = strchr(kImageName, '@') + 1;
    narrate(String::format("version %d build %.16s boot %lu", atoi(version), kImageBuild + kBuildAt,
            (unsigned long)boots));
}

// The boot line goes to everybody who opens the port: at the start there mostly is nobody yet.
void narrateState() {
    if (Serial.isConnected() != portOpen) {
        portOpen = !portOpen;
        greeted = false;
        openedAt = millis();
    }
    if (portOpen && !greeted && millis() - openedAt >= kGreetAfterMs) {
        greeted = true;
        greet();
    }
    if (Particle.connected() != toldOnline) {
        toldOnline = !toldOnline;
        narrate(toldOnline ? "online" : "offline");
    }
}

void doLater(Later what, uint32_t delayMs) {
    later = what;
    laterAt = millis() + delayMs;
}

bool findMember(const JSONValue& object, const char* name, JSONValue* value) {
    JSONObjectIterator it(object);
    while (it.next()) {
        if (it.name() == name) {
            *value = it.value();
            return true;
        }
    }
    return false;
}

// What a string, a number, true or false looks like as text.
String written(const JSONValue& value) {
    if (value.isString() || value.isNumber() || value.isBool()) {
        return String(value.toString().data());
    }
    return String();
}

// A member that must be a string. Without the member, `text` stays what it is, which `required` does not allow.
bool textMember(const JSONValue& object, const char* name, String* text, bool required) {
    JSONValue value;
    if (!findMember(object, name, &value)) {
        return !required;
    }
    if (!value.isString()) {
        return false;
    }
    *text = String(value.toString().data());
    return true;
}

bool nameMember(const JSONValue& object, String* name) {
    return textMember(object, "n", name, true) && name->length() > 0 && name->length() <= kNameMax;
}

// The name of an event: Device OS itself says which is too long.
bool nameMemberOfAnyLength(const JSONValue& object, String* name) {
    return textMember(object, "n", name, true) && name->length() > 0;
}

bool parseInt(const String& text, int* number) {
    const char* start = text.c_str();
    const char* digits = *start == '-' || *start == '+' ? start + 1 : start;
    if (*digits == 0 || strspn(digits, "0123456789") != strlen(digits)) {
        return false;
    }
    errno = 0;
    const long long found = strtoll(start, nullptr, 10);
    if (errno != 0 || found < INT32_MIN || found > INT32_MAX) {
        return false;
    }
    *number = (int)found;
    return true;
}

bool parseDouble(const String& text, double* number) {
    const char* start = text.c_str();
    char* end = nullptr;
    const double found = strtod(start, &end);
    if (end == start || *end != 0 || strspn(start, "+-.0123456789eE") != strlen(start) || !std::isfinite(found)) {
        return false;
    }
    *number = found;
    return true;
}

// A member that must be an integer, as a number or as text.
bool intMember(const JSONValue& object, const char* name, int* number, bool required) {
    JSONValue value;
    if (!findMember(object, name, &value)) {
        return !required;
    }
    return parseInt(written(value), number);
}

void onEvent(const char* name, const char* data) {
    events.push_back({String(name), String(data ? data : "")});
    narrate(String::format("event %s, %u bytes", told(name).c_str(), (unsigned)events.back().data.length()));
}

int registerFunction(const String& name, bool length, int value) {
    for (Answer* known : answers) {
        if (known->name == name) {
            known->length = length;
            known->value = value;
            return 0;
        }
    }
    Answer* answer = new Answer{name, length, value};
    std::function<int(String)> handler = [answer](String argument) {
        calls.push_back({answer->name, argument});
        const int result = answer->length ? (int)argument.length() : answer->value;
        narrate(String::format("call %s, %u bytes: %d", told(answer->name.c_str()).c_str(),
                (unsigned)argument.length(), result));
        return result;
    };
    if (!Particle.function(answer->name.c_str(), handler)) {
        return kLimitExceeded;
    }
    answers.push_back(answer);
    return 0;
}

bool assign(Value* value, const JSONValue& given) {
    const String text = written(given);
    if (value->kind == "bool") {
        value->flag = text == "true" || text == "1";
        return value->flag || text == "false" || text == "0";
    }
    if (value->kind == "int") {
        return parseInt(text, &value->number);
    }
    if (value->kind == "double") {
        return parseDouble(text, &value->ratio);
    }
    if (value->kind == "string" && given.isString()) {
        value->text = text;
        return true;
    }
    return false;
}

bool announce(Value* value) {
    const char* name = value->name.c_str();
    if (value->kind == "bool") {
        return Particle.variable(name, std::function<bool()>([value]() { return value->flag; }));
    }
    if (value->kind == "int") {
        return Particle.variable(name, std::function<int()>([value]() { return value->number; }));
    }
    if (value->kind == "double") {
        return Particle.variable(name, std::function<double()>([value]() { return value->ratio; }));
    }
    return Particle.variable(name, std::function<String()>([value]() { return value->text; }));
}

int registerVariable(const String& name, const String& kind, const JSONValue& given) {
    Value fresh{name, kind, false, 0, 0.0, String()};
    if (!assign(&fresh, given)) {
        return kInvalidArgument;
    }
    for (Value* known : values) {
        if (known->name == name) {
            if (known->kind != kind) {
                return kInvalidArgument;
            }
            *known = fresh;
            return 0;
        }
    }
    Value* value = new Value(fresh);
    if (!announce(value)) {
        return kLimitExceeded;
    }
    values.push_back(value);
    return 0;
}

void registerAtStart(const char* name, const char* kind, const char* json) {
    registerVariable(name, kind, JSONValue::parseCopy(json, strlen(json)));
}

int publish(const JSONValue& command, JSONWriter& reply) {
    String name, data, flags;
    if (!nameMemberOfAnyLength(command, &name) || !textMember(command, "d", &data, false)) {
        return kInvalidArgument;
    }
    if (!Particle.connected()) {
        return kInvalidState;
    }
    int ttl = 60;
    if (!textMember(command, "f", &flags, false) || !intMember(command, "ttl", &ttl, false) || ttl < 0
            || ttl > kTtlMax) {
        return kInvalidArgument;
    }
    PublishFlags publishFlags = PRIVATE;
    if (flags == "ack") {
        publishFlags = PRIVATE | WITH_ACK;
    } else if (flags == "noack") {
        publishFlags = PRIVATE | NO_ACK;
    } else if (flags.length() > 0) {
        return kInvalidArgument;
    }
    particle::Future<bool> future = Particle.publish(name.c_str(), data.c_str(), ttl, publishFlags);
    const bool refused = future.isDone() && !future.isSucceeded();
    sent.push_back({refused, future});
    reply.name("id").value((int)sent.size());
    return 0;
}

int published(const JSONValue& command, JSONWriter& reply) {
    int id = 0;
    if (!intMember(command, "id", &id, true) || id < 1 || id > (int)sent.size()) {
        return kInvalidArgument;
    }
    Sent& item = sent[id - 1];
    const char* state = "pending";
    if (item.refused) {
        state = "refused";
    } else if (item.future.isDone()) {
        state = item.future.isSucceeded() && item.future.result() ? "ok" : "failed";
    }
    reply.name("state").value(state);
    return 0;
}

int subscribe(const JSONValue& command, JSONWriter& reply) {
    String prefix;
    if (!nameMember(command, &prefix)) {
        return kInvalidArgument;
    }
    if (subscriptions >= kMaxSubscriptions) {
        return kLimitExceeded;
    }
#if SYSTEM_VERSION < 0x03000000
    const bool ok = Particle.subscribe(prefix.c_str(), onEvent, MY_DEVICES);
#else
    const bool ok = Particle.subscribe(prefix.c_str(), onEvent);
#endif
    if (!ok) {
        return kLimitExceeded;
    }
    subscriptions += 1;
    reply.name("id").value(1);
    return 0;
}

int page(const JSONValue& command, JSONWriter& reply, const std::vector<Record>& items, const char* key,
        const char* dataKey) {
    int from = 0;
    if (!intMember(command, "from", &from, false) || from < 0) {
        return kInvalidArgument;
    }
    int next = from;
    reply.name(key).beginArray();
    for (; next < (int)items.size() && next < from + kPage; ++next) {
        reply.beginObject();
        reply.name("n").value(items[next].name);
        reply.name(dataKey).value(items[next].data);
        reply.endObject();
    }
    reply.endArray();
    reply.name("next").value(next);
    return 0;
}

int info(JSONWriter& reply) {
    reply.name("app").value("probe");
    reply.name("version").value(HIL_VERSION);
    reply.name("build").value(kImageBuild + kBuildAt, kBuildSize);
    reply.name("os").value(System.version());
    reply.name("boots").value((int)boots);
    reply.name("uptime").value((unsigned)millis());
    return 0;
}

int defineFunction(const JSONValue& command) {
    String name;
    JSONValue given;
    if (!nameMember(command, &name) || !findMember(command, "r", &given)) {
        return kInvalidArgument;
    }
    const String result = written(given);
    const bool length = given.isString() && result == "length";
    int value = 0;
    if (!length && !parseInt(result, &value)) {
        return kInvalidArgument;
    }
    return registerFunction(name, length, value);
}

int defineVariable(const JSONValue& command) {
    String name, kind;
    JSONValue given;
    if (!nameMember(command, &name) || !textMember(command, "t", &kind, true) || !findMember(command, "v", &given)) {
        return kInvalidArgument;
    }
    return registerVariable(name, kind, given);
}

int sleepFor(const JSONValue& command) {
    JSONValue given;
    double seconds = 0;
    if (!findMember(command, "s", &given) || !parseDouble(written(given), &seconds) || seconds <= 0 || seconds > kSleepMax) {
        return kInvalidArgument;
    }
    sleepMs = std::max<uint32_t>(1, (uint32_t)(seconds * 1000));
    doLater(Later::SLEEP, 100);
    return 0;
}

int execute(const JSONValue& command, JSONWriter& reply) {
    JSONValue asked;
    const String what = findMember(command, "c", &asked) ? written(asked) : String();
    if (what == "info") {
        return info(reply);
    }
    if (what == "cloud") {
        reply.name("connected").value(Particle.connected());
        return 0;
    }
    if (what == "connect" || what == "disconnect") {
        doLater(what == "connect" ? Later::CONNECT : Later::DISCONNECT, 0);
        return 0;
    }
    if (what == "publish") {
        return publish(command, reply);
    }
    if (what == "published") {
        return published(command, reply);
    }
    if (what == "subscribe") {
        return subscribe(command, reply);
    }
    if (what == "unsubscribe") {
        Particle.unsubscribe();
        subscriptions = 0;
        return 0;
    }
    if (what == "received") {
        return page(command, reply, events, "events", "d");
    }
    if (what == "calls") {
        return page(command, reply, calls, "calls", "a");
    }
    if (what == "function") {
        return defineFunction(command);
    }
    if (what == "variable") {
        return defineVariable(command);
    }
    if (what == "reset") {
        doLater(Later::RESET, 100);
        return 0;
    }
    if (what == "safemode") {
        doLater(Later::SAFE_MODE, 100);
        return 0;
    }
    if (what == "sleep") {
        return sleepFor(command);
    }
    return kNotSupported;
}

// Commands that change something are told; a host that looks is not, it looks many times a second.
void narrateCommand(const JSONValue& command, int code) {
    static const char* const kTold[] = {"connect", "disconnect", "publish", "subscribe", "unsubscribe", "function",
            "variable", "reset", "safemode", "sleep"};
    JSONValue member;
    const String what = findMember(command, "c", &member) ? written(member) : String();
    if (std::none_of(std::begin(kTold), std::end(kTold), [&what](const char* each) { return what == each; })) {
        return;
    }
    String line = what;
    if (findMember(command, "n", &member) && member.isString()) {
        line += ' ';
        line += told(member.toString().data());
    }
    narrate(code == 0 ? line : String::format("%s: error %d", line.c_str(), code));
}

// Runs one command and writes its reply object; an error code leaves the reply empty.
int run(const char* json, size_t size, Reply& reply) {
    const JSONValue command = size > 0 ? JSONValue::parseCopy(json, size) : JSONValue();
    if (!command.isObject()) {
        return kInvalidArgument;
    }
    reply.beginObject();
    const int code = execute(command, reply);
    reply.endObject();
    if (code != 0) {
        reply.data.clear();
    }
    narrateCommand(command, code);
    return code;
}

void serialCommand(const String& text) {
    Reply reply;
    const int code = run(text.c_str() + 1, text.length() - 1, reply);
    Serial.printf("<{\"_\":%d", code);
    if (reply.data.size() > 2) {
        Serial.write(',');
        Serial.write((const uint8_t*)reply.data.data() + 1, reply.data.size() - 2);
    }
    Serial.write('}');
    Serial.write('\n');
}

void readSerial() {
    while (Serial.available()) {
        const char c = Serial.read();
        if (c != '\n') {
            lineTooLong = lineTooLong || line.length() >= kLineMax;
            if (!lineTooLong) {
                line += c;
            }
            continue;
        }
        if (!lineTooLong && line.startsWith(">")) {
            serialCommand(line);
        }
        line = "";
        lineTooLong = false;
    }
}

void runLater() {
    if (later == Later::NONE || (int32_t)(millis() - laterAt) < 0) {
        return;
    }
    const Later what = later;
    later = Later::NONE;
    switch (what) {
    case Later::RESET:
        System.reset();
        break;
    case Later::SAFE_MODE:
        System.enterSafeMode();
        break;
    case Later::SLEEP: {
        SystemSleepConfiguration config;
        config.mode(SystemSleepMode::STOP).duration(std::chrono::milliseconds(sleepMs));
        System.sleep(config);
        break;
    }
    case Later::CONNECT:
        Particle.connect();
        break;
    case Later::DISCONNECT:
        Particle.disconnect();
        break;
    default:
        break;
    }
}

} // namespace

void ctrl_request_custom_handler(ctrl_request* request) {
    Reply reply;
    int code = run(request->request_data, request->request_size, reply);
    if (code == 0) {
        code = system_ctrl_alloc_reply_data(request, reply.data.size(), nullptr);
        if (code == 0) {
            memcpy(request->reply_data, reply.data.data(), reply.data.size());
        }
    }
    system_ctrl_set_result(request, code, nullptr, nullptr, nullptr);
}

void setup() {
    constexpr uint32_t kMagic = 0x48494c50;
    if (retainedMagic != kMagic) {
        retainedMagic = kMagic;
        retainedBoots = 0;
    }
    boots = ++retainedBoots;
    registerFunction("probe_echo", true, 0);
    registerFunction("probe_answer", false, 42);
    registerAtStart("probe_bool", "bool", "false");
    registerAtStart("probe_int", "int", "0");
    registerAtStart("probe_double", "double", "0");
    registerAtStart("probe_string", "string", "\"\"");
    Serial.begin();
}

void loop() {
    narrateState();
    readSerial();
    runLater();
}
