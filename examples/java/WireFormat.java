// Avro in the Confluent wire format for Kafka's Java client: byte 0, the schema's id as 4 bytes big-endian, Avro binary.
//
// The smallest stand-in for Confluent's KafkaAvroSerializer and KafkaAvroDeserializer, which are in Confluent's own Maven
// repository. If you have that, name those two where the clients name `WireFormat.Serializer` and `WireFormat.Deserializer`, keep of
// this file `REGISTRY_URL` and `Registry`, by which the clients get the command's schema, and add to the producer's configuration
//
//     auto.register.schemas = false
//     value.subject.name.strategy = io.confluent.kafka.serializers.subject.TopicRecordNameStrategy
//
// `schema.registry.url` stays as it is.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.errors.SerializationException;

public final class WireFormat {
    public static final String REGISTRY_URL = "schema.registry.url";

    /** Writes a record with its own schema, which is registered under `topic-record`, as `crm-processor setup` does it. */
    public static final class Serializer implements org.apache.kafka.common.serialization.Serializer<GenericRecord> {
        private Registry registry;

        @Override
        public void configure(Map<String, ?> configuration, boolean isKey) {
            registry = new Registry(configuration.get(REGISTRY_URL).toString());
        }

        @Override
        public byte[] serialize(String topic, GenericRecord record) {
            Schema schema = record.getSchema();
            int id = registry.id(topic + "-" + schema.getFullName(), schema);
            var bytes = new ByteArrayOutputStream();
            bytes.write(0);
            bytes.writeBytes(ByteBuffer.allocate(Integer.BYTES).putInt(id).array());
            var encoder = EncoderFactory.get().binaryEncoder(bytes, null);
            try {
                new GenericDatumWriter<GenericRecord>(schema).write(record, encoder);
                encoder.flush();
            } catch (IOException e) {
                throw new SerializationException(e);
            }
            return bytes.toByteArray();
        }
    }

    /** Reads a record with the schema that it was written with. */
    public static final class Deserializer implements org.apache.kafka.common.serialization.Deserializer<GenericRecord> {
        private Registry registry;

        @Override
        public void configure(Map<String, ?> configuration, boolean isKey) {
            registry = new Registry(configuration.get(REGISTRY_URL).toString());
        }

        @Override
        public GenericRecord deserialize(String topic, byte[] value) {
            var bytes = ByteBuffer.wrap(value);
            if (bytes.remaining() <= Integer.BYTES || bytes.get() != 0) {
                throw new SerializationException("a record of " + topic + " is not in the Confluent wire format");
            }
            Schema schema = registry.schema(bytes.getInt());
            var decoder = DecoderFactory.get().binaryDecoder(value, bytes.position(), bytes.remaining(), null);
            try {
                return new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
            } catch (IOException e) {
                throw new SerializationException(e);
            }
        }
    }

    /** The schema registry. What it said once stays true, so it is asked once. */
    public static final class Registry {
        private static final ObjectMapper JSON = new ObjectMapper();
        private final HttpClient http = HttpClient.newHttpClient();
        private final Map<String, Integer> ids = new ConcurrentHashMap<>();
        private final Map<Integer, Schema> schemas = new ConcurrentHashMap<>();
        private final String url;

        public Registry(String url) {
            this.url = url;
        }

        /** The latest schema of a subject. */
        public Schema latest(String subject) {
            return parsed(ask(HttpRequest.newBuilder(URI.create(url + "/subjects/" + subject + "/versions/latest"))));
        }

        /** The id of a schema that is registered. To register it by this call, too, append `/versions` to the address. */
        int id(String subject, Schema schema) {
            return ids.computeIfAbsent(subject + schema, key -> {
                String body = JSON.createObjectNode().put("schema", schema.toString()).toString();
                var request = HttpRequest.newBuilder(URI.create(url + "/subjects/" + subject)).POST(BodyPublishers.ofString(body));
                return ask(request.header("content-type", "application/vnd.schemaregistry.v1+json")).get("id").asInt();
            });
        }

        /** The schema that an id stands for. */
        Schema schema(int id) {
            return schemas.computeIfAbsent(id, key -> parsed(ask(HttpRequest.newBuilder(URI.create(url + "/schemas/ids/" + key)))));
        }

        private static Schema parsed(JsonNode answer) {
            return new Schema.Parser().parse(answer.get("schema").asText());
        }

        private JsonNode ask(HttpRequest.Builder builder) {
            HttpRequest request = builder.build();
            try {
                var response = http.send(request, BodyHandlers.ofString());
                if (response.statusCode() != 200) {
                    throw new SerializationException(request.uri() + " answered " + response.statusCode() + ": " + response.body());
                }
                return JSON.readTree(response.body());
            } catch (IOException e) {
                throw new SerializationException(request.uri().toString(), e);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new SerializationException(request.uri().toString(), e);
            }
        }
    }

    private WireFormat() {}
}
