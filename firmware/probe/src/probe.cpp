// The probe for real boards. CONTRACT.md in the folder above binds it and its twin for virtual boards.
// Device OS API 2.3 to 6.2. Build it with Particle's own tools; firmware/README.md has the command.

#include "Particle.h"

#include <functional>
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

// The harness finds these two lines in the image and compares them with what `info` answers.
__attribute__((used)) static const char kImageName[] = "HIL-APP:probe@" HIL_TEXT(HIL_VERSION) "\n";
__attribute__((used)) static const char kImageBuild[] = "HIL-BUILD:" HIL_BUILD "\n";

namespace {

constexpr int kPage = 8;
constexpr size_t kReplySize = 2048;
constexpr size_t kMaxSubscriptions = 4;
constexpr int kNotSupported = -120;
constexpr int kLimitExceeded = -200;
constexpr int kInvalidState = -210;
constexpr int kInvalidArgument = -270;

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

enum class Later { NONE, RESET, SAFE_MODE, SLEEP, CONNECT, DISCONNECT };
Later later = Later::NONE;
uint32_t laterAt = 0;
int sleepSeconds = 0;

void doLater(Later what, uint32_t delayMs) {
    later = what;
    laterAt = millis() + delayMs;
}

String member(const JSONValue& object, const char* name, bool* found = nullptr) {
    JSONObjectIterator it(object);
    while (it.next()) {
        if (it.name() == name) {
            if (found) {
                *found = true;
            }
            return String((const char*)it.value().toString());
        }
    }
    if (found) {
        *found = false;
    }
    return String();
}

void onEvent(const char* name, const char* data) {
    events.push_back({String(name), String(data ? data : "")});
}

void registerFunction(const String& name, bool length, int value) {
    for (Answer* known : answers) {
        if (known->name == name) {
            known->length = length;
            known->value = value;
            return;
        }
    }
    Answer* answer = new Answer{name, length, value};
    answers.push_back(answer);
    std::function<int(String)> handler = [answer](String argument) {
        calls.push_back({answer->name, argument});
        return answer->length ? (int)argument.length() : answer->value;
    };
    Particle.function(answer->name.c_str(), handler);
}

bool assign(Value* value, const String& text) {
    if (value->kind == "bool") {
        value->flag = text == "true" || text == "1";
    } else if (value->kind == "int") {
        value->number = text.toInt();
    } else if (value->kind == "double") {
        value->ratio = atof(text.c_str());
    } else if (value->kind == "string") {
        value->text = text;
    } else {
        return false;
    }
    return true;
}

bool registerVariable(const String& name, const String& kind, const String& text) {
    for (Value* known : values) {
        if (known->name == name) {
            return known->kind == kind && assign(known, text);
        }
    }
    Value* value = new Value{name, kind, false, 0, 0.0, String()};
    if (!assign(value, text)) {
        delete value;
        return false;
    }
    values.push_back(value);
    if (kind == "bool") {
        Particle.variable(value->name.c_str(), std::function<bool()>([value]() { return value->flag; }));
    } else if (kind == "int") {
        Particle.variable(value->name.c_str(), std::function<int()>([value]() { return value->number; }));
    } else if (kind == "double") {
        Particle.variable(value->name.c_str(), std::function<double()>([value]() { return value->ratio; }));
    } else {
        Particle.variable(value->name.c_str(), std::function<String()>([value]() { return value->text; }));
    }
    return true;
}

int publish(const JSONValue& command, JSONWriter& reply) {
    bool named = false;
    const String name = member(command, "n", &named);
    if (!named) {
        return kInvalidArgument;
    }
    if (!Particle.connected()) {
        return kInvalidState;
    }
    const String data = member(command, "d");
    const String flags = member(command, "f");
    bool hasTtl = false;
    const String ttlText = member(command, "ttl", &hasTtl);
    const int ttl = hasTtl ? ttlText.toInt() : 60;
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
    const int id = member(command, "id").toInt();
    if (id < 1 || id > (int)sent.size()) {
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
    bool named = false;
    const String prefix = member(command, "n", &named);
    if (!named) {
        return kInvalidArgument;
    }
    if (subscriptions >= kMaxSubscriptions) {
        return kLimitExceeded;
    }
#if SYSTEM_VERSION < 0x03000000
    const bool ok = Particle.subscribe(prefix, onEvent, MY_DEVICES);
#else
    const bool ok = Particle.subscribe(prefix, onEvent);
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
    const int from = member(command, "from").toInt();
    if (from < 0) {
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
    reply.name("build").value(HIL_BUILD);
    reply.name("os").value(System.version());
    reply.name("boots").value((int)boots);
    reply.name("uptime").value((unsigned)millis());
    return 0;
}

int execute(const JSONValue& command, JSONWriter& reply) {
    const String what = member(command, "c");
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
        bool named = false;
        bool answered = false;
        const String name = member(command, "n", &named);
        const String result = member(command, "r", &answered);
        if (!named || !answered || name.length() > 64) {
            return kInvalidArgument;
        }
        registerFunction(name, result == "length", result.toInt());
        return 0;
    }
    if (what == "variable") {
        const String name = member(command, "n");
        const bool ok = name.length() > 0 && name.length() <= 64
                && registerVariable(name, member(command, "t"), member(command, "v"));
        return ok ? 0 : kInvalidArgument;
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
        sleepSeconds = member(command, "s").toInt();
        doLater(Later::SLEEP, 100);
        return 0;
    }
    return kNotSupported;
}

// Runs one command and writes its reply object; an error code leaves the reply empty.
int run(const char* json, size_t size, char* buffer, size_t bufferSize, size_t* written) {
    const JSONValue command = JSONValue::parseCopy(json, size);
    *written = 0;
    if (!command.isObject()) {
        return kInvalidArgument;
    }
    JSONBufferWriter reply(buffer, bufferSize);
    reply.beginObject();
    const int code = execute(command, reply);
    reply.endObject();
    if (code == 0) {
        *written = std::min(reply.dataSize(), bufferSize);
    }
    return code;
}

void serialCommand(const String& text) {
    std::vector<char> buffer(kReplySize);
    size_t written = 0;
    const int code = run(text.c_str() + 1, text.length() - 1, buffer.data(), buffer.size(), &written);
    Serial.printf("<{\"_\":%d", code);
    if (written > 2) {
        Serial.write(',');
        Serial.write((const uint8_t*)buffer.data() + 1, written - 2);
    }
    Serial.write("}\n");
}

void readSerial() {
    while (Serial.available()) {
        const char c = Serial.read();
        if (c != '\n') {
            line += c;
            continue;
        }
        if (line.startsWith(">")) {
            serialCommand(line);
        }
        line = "";
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
        config.mode(SystemSleepMode::STOP).duration(std::chrono::seconds(sleepSeconds));
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
    std::vector<char> buffer(kReplySize);
    size_t written = 0;
    int code = run(request->request_data, request->request_size, buffer.data(), buffer.size(), &written);
    if (code == 0 && written > 0) {
        code = system_ctrl_alloc_reply_data(request, written, nullptr);
        if (code == 0) {
            memcpy(request->reply_data, buffer.data(), written);
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
    registerVariable("probe_bool", "bool", "false");
    registerVariable("probe_int", "int", "0");
    registerVariable("probe_double", "double", "0");
    registerVariable("probe_string", "string", "");
    Serial.begin();
    Serial.printf("probe: version %d build %s boot %lu\r\n", HIL_VERSION, HIL_BUILD, (unsigned long)boots);
}

void loop() {
    readSerial();
    runLater();
}
